"""`machine.json`: what a person says of a machine that is only disk images.

    {"id": "4b0c...", "name": "web1", "folder": "shop", "tags": ["gold"], "power_state": "off",
     "custom_attributes": {"owner": "shop"}}

Every member may be missing. Names that nobody knows, and values of another kind, are errors.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vsa.faults import DescriptionInvalid

_POWER_STATES = ("on", "off", "suspended", "unknown")
_BYTES_MAX = 1 << 20
_CHARS_MAX = 255


@dataclass(frozen=True)
class Description:
    """None where the file says nothing."""

    id: str | None = None
    name: str | None = None
    folder: str | None = None
    tags: tuple[str, ...] = ()
    power_state: str = "unknown"
    custom_attributes: dict[str, str] = field(default_factory=dict)


def read_description(path: Path) -> Description:
    """What `path` says; nothing where no such file is. Raises DescriptionInvalid: file, member, expected, found."""
    try:
        with path.open("rb") as file:
            raw = file.read(_BYTES_MAX + 1)
    except FileNotFoundError:
        return Description()
    except OSError as error:
        raise DescriptionInvalid(f"{path}: cannot be read: {error.strerror}") from error
    if len(raw) > _BYTES_MAX:
        raise DescriptionInvalid(f"{path}: expected at most {_BYTES_MAX} bytes, found more")
    try:
        members = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise DescriptionInvalid(f"{path}: expected JSON, found: {error}") from error
    if not isinstance(members, dict):
        raise DescriptionInvalid(f"{path}: expected a JSON object, found {json.dumps(members)[:40]}")
    readers: dict[str, Callable[[str, Any], Any]] = {
        "id": _text,
        "name": _text,
        "folder": _text,
        "tags": _texts,
        "power_state": _power_state,
        "custom_attributes": _attributes,
    }
    values: dict[str, Any] = {}
    for name, value in members.items():
        if name not in readers:
            raise DescriptionInvalid(f"{path}: {name}: no such member; there are {', '.join(readers)}")
        values[name] = readers[name](f"{path}: {name}", value)
    return Description(**values)


def _text(where: str, value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _CHARS_MAX or not value.isprintable():
        raise DescriptionInvalid(f"{where}: expected a text of 1 to {_CHARS_MAX} characters, found {value!r:.60}")
    return value


def _texts(where: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise DescriptionInvalid(f"{where}: expected an array of texts, found {value!r:.60}")
    return tuple(_text(f"{where}[{number}]", item) for number, item in enumerate(value))


def _power_state(where: str, value: object) -> str:
    if value not in _POWER_STATES:
        raise DescriptionInvalid(f"{where}: expected one of {', '.join(_POWER_STATES)}, found {value!r:.60}")
    return str(value)


def _attributes(where: str, value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise DescriptionInvalid(f"{where}: expected an object of texts, found {value!r:.60}")
    return {_text(where, name): _text(f"{where}.{name}", text) for name, text in value.items()}
