"""`ingot key`: the ways in. Each slot wraps the repository's master key by one passphrase or one key file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ingot.cli import options
from ingot.cli.screen import screen_of
from ingot.quantities import table, time_text

if TYPE_CHECKING:
    from media.key_slots import Slot

keys = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="The ways into a repository: add, remove, list, export.",
)


@keys.command()
def add(
    context: typer.Context,
    repository: options.Repository,
    new_passphrase_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A file with the new passphrase. Without either: the terminal is asked."),
    ] = None,
    new_key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The new key file; made when it does not exist.")
    ] = None,
    passphrase_file: options.PassphraseFile = None,
    key_file: options.KeyFile = None,
    json: options.Json = False,
) -> int:
    """Add a passphrase or key file that opens the repository as well.

    A key file in a safe is a good second one: 64 digits that can be printed and typed in again.

    Example:

        ingot key add --new-key-file recovery.key --repository /backup/vms
    """
    from ingot.cli.secret import Named, new_secret, open_named
    from ingot.faults import UsageWrong
    from media.faults import KeyUnfit
    from media.pool import add_slot

    screen = screen_of(context, json)
    if new_passphrase_file is not None and new_key_file is not None:
        raise UsageWrong("expected --new-passphrase-file or --new-key-file, found both")
    repo = open_named(repository, passphrase_file, key_file, screen)
    if not repo.pool.parameters.encrypted:
        raise KeyUnfit(f"{repo.pool.repository.url}: not encrypted; it has no key to wrap")
    new = new_secret(Named(new_passphrase_file, new_key_file), screen)
    name = add_slot(repo.pool, new.secret, repo.clock)
    made = None if new.made is None else str(new.made.absolute())
    lines = [f"key slot {_slot_id(name)} added: {new.secret.kind}"]
    if made is not None:
        lines.append(f"key file made at {made}; keep it where the repository is not")
    return screen.result({"slot": _slot_id(name), "kind": new.secret.kind, "key_file_made": made}, lines)


@keys.command()
def remove(
    context: typer.Context,
    slot: Annotated[
        str, typer.Argument(metavar="SLOT", help="The slot's id as `ingot key list` shows it, or its beginning.")
    ],
    repository: options.Repository,
    passphrase_file: options.PassphraseFile = None,
    key_file: options.KeyFile = None,
    json: options.Json = False,
) -> int:
    """Remove a key slot; the last one cannot be removed.

    Whoever copied the slot before, and has its secret, can still open the repository: data is not encrypted anew.

    Example:

        ingot key remove 3f2a --repository /backup/vms
    """
    from ingot.cli.secret import open_named
    from media.key_slots import list_slots
    from media.pool import remove_slot

    screen = screen_of(context, json)
    repo = open_named(repository, passphrase_file, key_file, screen)
    name = _find(slot, list_slots(repo.pool.repository))
    remove_slot(repo.pool, name)
    return screen.result({"slot": _slot_id(name)}, [f"key slot {_slot_id(name)} removed"])


@keys.command("list")
def list_(context: typer.Context, repository: options.Repository, json: options.Json = False) -> int:
    """List the key slots. Needs no secret."""
    from ingot.exported_keys import check_repository
    from media.key_slots import list_slots
    from media.repository.locate import open_place

    screen = screen_of(context, json)
    place = open_place(repository)
    check_repository(place)
    slots = list_slots(place)
    documents = [{"slot": _slot_id(slot.name), "kind": slot.kind, "created_at": slot.created_at} for slot in slots]
    rows = [(_slot_id(slot.name), slot.kind, time_text(slot.created_at)) for slot in slots]
    return screen.result(documents, table(("SLOT", "KIND", "CREATED (UTC)"), rows))


@keys.command()
def export(
    context: typer.Context,
    repository: options.Repository,
    to: Annotated[Path, typer.Option(metavar="FILE", show_default=False, help="The file to write; it must not exist.")],
    json: options.Json = False,
) -> int:
    """Copy the key slots to a file outside of the repository.

    The key slots and the parameters that go with them are all that a disk failure must not take: with them lost, no
    passphrase opens anything. The file is of no use without a passphrase or key file, and needs none to be written.
    `ingot key import` puts back what is missing.

    Example:

        ingot key export --to vms.ingot-keys --repository /backup/vms
    """
    from ingot.cli.secret import write_private
    from ingot.exported_keys import exported
    from media.repository.locate import open_place

    screen = screen_of(context, json)
    keys_of = exported(open_place(repository))
    write_private(to, keys_of.text)
    document = {"path": str(to.absolute()), "slots": keys_of.slots}
    lines = [
        f"{len(keys_of.slots)} key slots exported to {to.absolute()}",
        "Without a passphrase or key file it opens nothing; keep it apart from them and from the repository.",
    ]
    return screen.result(document, lines)


@keys.command("import")
def import_(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `ingot key export` wrote.")],
    repository: options.Repository,
    json: options.Json = False,
) -> int:
    """Put back key slots and parameters that the repository lost. What is there is left as it is.

    A slot that was removed on purpose since the export comes back as well.

    Example:

        ingot key import vms.ingot-keys --repository /backup/vms
    """
    from ingot.exported_keys import put_back
    from media.repository.locate import open_place

    screen = screen_of(context, json)
    put = put_back(source, open_place(repository))
    lines = [f"put back: {name}" for name in put] or ["nothing was missing"]
    return screen.result({"put_back": put}, lines)


def _slot_id(name: str) -> str:
    from media.ids import KEYS

    return name.removeprefix(KEYS)


def _find(text: str, slots: list[Slot]) -> str:
    from media.faults import KeyUnfit

    fitting = [slot.name for slot in slots if text and _slot_id(slot.name).startswith(text.lower())]
    if len(fitting) != 1:
        there = ", ".join(_slot_id(slot.name) for slot in slots)
        raise KeyUnfit(
            f"{text!r}: expected the id of one key slot, found {len(fitting)} that begin so; there are {there}"
        )
    return fitting[0]
