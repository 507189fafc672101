"""`ingot init`: make a repository."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from ingot.cli import options
from ingot.cli.screen import screen_of

if TYPE_CHECKING:
    from ingot.cli.secret import NewSecret
    from media.pool import Pool
    from media.repository import Repository


class AverageChunk(Enum):
    """What people may choose."""

    KIB_64 = "64KiB"
    KIB_128 = "128KiB"
    KIB_256 = "256KiB"
    KIB_512 = "512KiB"

    @property
    def bytes(self) -> int:
        return int(self.value.removesuffix("KiB")) << 10


def init(
    context: typer.Context,
    repository: options.Repository,
    passphrase_file: options.PassphraseFile = None,
    key_file: options.KeyFile = None,
    no_encryption: Annotated[
        bool,
        typer.Option("--no-encryption", rich_help_panel=options.SECRET, help="Store plain data that anybody can read."),
    ] = False,
    average_chunk: Annotated[
        AverageChunk,
        typer.Option(help="Smaller finds more duplicates, larger needs less index. Fixed for ever."),
    ] = AverageChunk.KIB_64,
    json: options.Json = False,
) -> int:
    """Make a repository, encrypted unless said otherwise.

    The place is tried first: whether it takes an object once, shows it at once, and deletes it.

    The passphrase comes from a file, or is asked for twice on the terminal. A key file that does not exist is made.

    Whoever loses every passphrase and every key file has lost the data: keep two copies, in two places.

    Examples:

        ingot init --repository /backup/vms

        ingot init --repository /backup/vms --key-file /etc/ingot/ingot.key

        ingot init --repository s3://bucket/vms?region=eu-central-1 --key-file /etc/ingot/ingot.key
    """
    from ingot.cli.secret import NewSecret, named, new_secret
    from ingot.faults import UsageWrong
    from media.faults import RepositoryExists, RepositoryFault
    from media.key_slots import NoSecret
    from media.pool import Parameters, create_pool
    from media.repository.locate import open_place, probe_place
    from runtime.clock import SystemClock

    screen = screen_of(context, json)
    place = open_place(repository)
    if no_encryption and (passphrase_file or key_file) is not None:
        raise UsageWrong("--no-encryption: expected no --passphrase-file and no --key-file beside it")
    _check_vacant(place)
    new = NewSecret(NoSecret(), None) if no_encryption else new_secret(named(passphrase_file, key_file), screen)
    try:
        abilities = probe_place(repository)
    except RepositoryFault:
        new.withdraw()
        raise
    try:
        pool = create_pool(
            place, new.secret, Parameters(average_chunk.bytes, encrypted=not no_encryption), SystemClock(), abilities
        )
    except RepositoryExists:
        new.withdraw()
        raise
    document = {
        "repository": str(pool.id),
        "url": place.url,
        "encryption": "none" if no_encryption else "aes-256-gcm",
        "average_chunk_bytes": average_chunk.bytes,
        "abilities": abilities,
        "key_file_made": None if new.made is None else str(new.made.absolute()),
    }
    return screen.result(document, _lines(pool, new))


def _check_vacant(place: Repository) -> None:
    """Before anything is tried there, and before a person types a passphrase twice for nothing."""
    from media.faults import RepositoryExists
    from media.ids import CONFIG

    if any(entry.name == CONFIG for entry in place.list(CONFIG)):
        raise RepositoryExists(f"{place.url}: a repository is there already")


def _lines(pool: Pool, new: NewSecret) -> list[str]:
    lines = [f"repository made at {pool.repository.url}"]
    if not pool.parameters.encrypted:
        return [*lines, "It is not encrypted: whoever reads the repository reads the disks."]
    if new.made is not None:
        lines.append(f"key file made at {new.made.absolute()}")
    secret = "key file" if new.secret.kind == "key file" else "passphrase"
    return [
        *lines,
        f"The data is encrypted, and the {secret} is the only way to it: if it is lost, the data is lost.",
        f"Keep two copies of the {secret}, in two places, neither of them in the repository.",
        "`ingot key add` adds another way in; `ingot key export` keeps a copy of the key slots themselves.",
    ]
