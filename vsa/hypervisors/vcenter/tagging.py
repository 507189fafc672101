"""Tags put on a machine that came back: those that exist, found by category and name."""

from __future__ import annotations

from collections.abc import Sequence

from vsa.hypervisors.vcenter.rest import Rest

_TAGGING = "cis/tagging"


def attach_tags(rest: Rest, moref: str, tags: Sequence[str]) -> list[str]:
    """`Category:Name` each; those that this vCenter does not have. May be called twice. Raises what `Rest` does."""
    wanted: dict[str, set[str]] = {}
    for tag in tags:
        category, _, name = tag.partition(":")
        wanted.setdefault(category, set()).add(name)
    missing = set(tags)
    for category_id in rest.get(f"{_TAGGING}/category") if wanted else ():
        category = str(rest.get(f"{_TAGGING}/category/{category_id}")["name"])
        if category not in wanted:
            continue
        asked = {"category_id": category_id}
        for tag_id in rest.list_all(f"{_TAGGING}/tag", "list-tags-for-category", asked):
            name = str(rest.get(f"{_TAGGING}/tag/{tag_id}")["name"])
            if name in wanted[category]:
                on = {"object_id": {"type": "VirtualMachine", "id": moref}}
                rest.act(f"{_TAGGING}/tag-association/{tag_id}", "attach", on)
                missing.discard(f"{category}:{name}")
    return sorted(missing)
