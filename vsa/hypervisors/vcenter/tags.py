"""Tags of machines: `Category:Name`, read in bulk."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping

from vsa.hypervisors.vcenter.rest import Rest

_TAGGING = "cis/tagging"
_BATCH = 1000  # machines asked about in one call


def read_tags(rest: Rest, morefs: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    """By machine; those without tags are left out. Raises what `Rest` does: half of the tags would be another truth."""
    found: dict[str, list[str]] = defaultdict(list)
    names: dict[str, str] = {}
    categories: dict[str, str] = {}
    for batch in _batched(morefs):
        asked = {"object_ids": [{"type": "VirtualMachine", "id": moref} for moref in batch]}
        for each in rest.list_all(f"{_TAGGING}/tag-association", "list-attached-tags-on-objects", asked):
            for tag in each.get("tag_ids") or []:
                if tag not in names:
                    names[tag] = _name(rest, tag, categories)
                found[each["object_id"]["id"]].append(names[tag])
    return {moref: tuple(sorted(tags)) for moref, tags in found.items()}


def _name(rest: Rest, tag: str, categories: dict[str, str]) -> str:
    about = rest.get(f"{_TAGGING}/tag/{tag}")
    category = about["category_id"]
    if category not in categories:
        categories[category] = str(rest.get(f"{_TAGGING}/category/{category}")["name"])
    return f"{categories[category]}:{about['name']}"


def _batched(morefs: Iterable[str]) -> Iterable[tuple[str, ...]]:
    left = iter(morefs)
    while batch := tuple(itertools.islice(left, _BATCH)):
        yield batch
