"""`ingot rebuild`: the index anew."""

from __future__ import annotations

import typer

from ingot.cli import options
from ingot.cli.exits import Exit
from ingot.cli.screen import screen_of
from ingot.quantities import count_text, seconds_text


def rebuild(
    context: typer.Context,
    repository: options.Repository,
    index: options.Index = None,
    passphrase_file: options.PassphraseFile = None,
    key_file: options.KeyFile = None,
    json: options.Json = False,
) -> int:
    """Make this machine's index of a repository anew.


    The index only says what need not be stored again: losing it loses nothing, and backups catch up by themselves.
    Exit code 3 when containers could not be read.

    Example:

        ingot rebuild --repository /backup/vms
    """
    from ingot.cli.secret import open_named
    from ingot.embedded import rebuild_index

    screen = screen_of(context, json)
    repo = open_named(repository, passphrase_file, key_file, screen)
    started = repo.clock.monotonic_seconds()
    with screen.progress() as progress:
        rebuilt = rebuild_index(repo, index, progress)
    seconds = repo.clock.monotonic_seconds() - started
    learned = rebuilt.learned
    document = {
        "index": str(rebuilt.directory),
        "containers": learned.containers,
        "chunks": learned.chunks,
        "damaged_containers": len(learned.damaged),
        "seconds": seconds,
    }
    counts = f"{count_text(learned.containers, 'container')}, {count_text(learned.chunks, 'chunk')}"
    lines = [
        f"index rebuilt at {rebuilt.directory}",
        f"  {counts} in {seconds_text(seconds)}",
    ]
    return screen.result(document, lines, Exit.PARTIAL if learned.damaged else Exit.GOOD)
