"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vsa.disks.formats import Format

SECRET = "Secret"  # the panel that `--help` shows these in

Repository = Annotated[
    str,
    typer.Option(
        "--repository",
        "-r",
        metavar="URL",
        envvar="INGOT_REPOSITORY",
        show_default=False,
        help="Where the repository lies: a directory, as a path or a file:/// URL, or s3://bucket/prefix.",
    ),
]
BackupRepository = Annotated[
    str | None,
    typer.Option(
        "--repository",
        "-r",
        metavar="URL",
        envvar="INGOT_REPOSITORY",
        show_default=False,
        help="Where the repository lies: a directory, as a path or a file:/// URL, or s3://bucket/prefix.",
    ),
]
MaybeRepository = Annotated[
    str | None,
    typer.Option(
        "--repository",
        "-r",
        metavar="URL",
        envvar="INGOT_REPOSITORY",
        help="A repository to look at as well.",
    ),
]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        rich_help_panel=SECRET,
        help="A file that holds the passphrase; also INGOT_PASSPHRASE_FILE. Without any, the terminal is asked.",
    ),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key-file", metavar="FILE", rich_help_panel=SECRET, help="A file that holds a key; also INGOT_KEY_FILE."
    ),
]
Index = Annotated[
    Path | None,
    typer.Option(
        "--index",
        metavar="DIR",
        help="Where the index of this repository lies, on a local disk. Without it: under ~/.local/state/ingot.",
    ),
]
LimitRate = Annotated[
    str | None,
    typer.Option(
        "--limit-rate",
        metavar="RATE",
        help="So many bytes a second to and from the repository: `20MiB`, or by the hour `20MiB,20:00-06:00=none`.",
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Write one JSON document to stdout, for programs. Described in docs/cli.md.")
]


def image_format(text: str | None) -> Format | None:
    """What --format says; None when it was not given. Raises UsageWrong."""
    from ingot.faults import UsageWrong
    from vsa.disks.formats import Format

    try:
        return None if text is None else Format(text)
    except ValueError:
        there = ", ".join(one.value for one in Format)
        raise UsageWrong(f"--format: expected one of {there}, found {text!r}") from None
