"""Keys outside of their repository: copies of `ingot.json` and of the key slots, in one JSON file.

Losing them loses all data, and they are a few kilobytes on the same disk as the rest. The file holds the objects as
they lie on media, by name, so it can be put back by hand as well. It opens nothing without a passphrase or key file;
where the repository is not encrypted, its slot lies open, here as there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from ingot.faults import KeysUnfit
from media.faults import ObjectExists, ObjectMissing, RepositoryMissing
from media.ids import CONFIG, KEYS
from media.repository import Repository

_KIND = "ingot keys"


class Exported(NamedTuple):
    """The text of the file, and the ids of the slots in it."""

    text: str
    slots: list[str]


def check_repository(place: Repository) -> None:
    """Raises RepositoryMissing when no repository lies here."""
    try:
        place.get(CONFIG)
    except ObjectMissing:
        raise RepositoryMissing(f"{place.url}: expected a repository, found no {CONFIG}") from None


def exported(place: Repository) -> Exported:
    """The keys of a repository. Raises KeysUnfit when what lies there is no text."""
    check_repository(place)
    names = [CONFIG, *(entry.name for entry in place.list(KEYS))]
    try:
        objects = {name: place.get(name).decode() for name in names}
        repository = str(json.loads(objects[CONFIG])["repository"])
    except (ValueError, KeyError, TypeError) as error:
        raise KeysUnfit(f"{place.url}: expected {CONFIG} and key slots in JSON, found {error}") from error
    text = json.dumps({"kind": _KIND, "format": 1, "repository": repository, "objects": objects}, indent=1) + "\n"
    return Exported(text, [name.removeprefix(KEYS) for name in names[1:]])


def put_back(source: Path, place: Repository) -> list[str]:
    """Put what is missing; the names of what was. Raises KeysUnfit."""
    objects = _read(source)
    ours = str(_uuid(source, objects[CONFIG]))
    try:
        theirs = str(_uuid(source, place.get(CONFIG).decode(errors="replace")))
    except ObjectMissing:
        theirs = ours
        if next(iter(place.list("c/")), None) is None:
            raise RepositoryMissing(f"{place.url}: expected a repository that lost its keys, found no data") from None
    if ours != theirs:
        raise KeysUnfit(f"{source}: expected keys of repository {theirs}, found those of {ours}")
    put = []
    for name, body in sorted(objects.items(), key=lambda item: item[0] == CONFIG):  # the slots first, as `init` does
        try:
            place.put_new(name, body.encode())
        except ObjectExists:
            continue
        put.append(name)
    return put


def _read(source: Path) -> dict[str, str]:
    try:
        value = json.loads(source.read_bytes())
        objects: dict[str, Any] = value["objects"]
        if value["kind"] != _KIND or value["format"] != 1 or CONFIG not in objects:
            raise ValueError("another kind of document")
        for name, body in objects.items():
            if not isinstance(body, str) or not (name == CONFIG or name.startswith(KEYS)):
                raise ValueError(f"an object {name!r}")
    except OSError as error:
        raise KeysUnfit(f"{source}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise KeysUnfit(f"{source}: expected what `ingot key export` writes, found {error}") from error
    return objects


def _uuid(source: Path, config: str) -> object:
    try:
        return json.loads(config)["repository"]
    except (ValueError, KeyError, TypeError) as error:
        raise KeysUnfit(f"{source}: {CONFIG}: expected a repository's parameters, found {error}") from error
