"""Settings from a TOML file into frozen dataclasses; nothing else of a daemon reads files or the environment for them.

A field's type says what is expected: str, int, float, bool, Path, Secret, a tuple of one of them, another dataclass, or
one of those or None. Fields without a default must be given. Names that nobody asked for are errors, because a
misspelt setting that is ignored is found on the day it was needed. What a type cannot say, a class checks in
`__post_init__`, by raising SettingsInvalid: so a file that loads is one that the service takes.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from runtime.faults import UsageFault

T = TypeVar("T")
_CREDENTIALS = "CREDENTIALS_DIRECTORY"  # systemd's LoadCredential
_LEVELS = ("debug", "info", "warning", "error")
_PORTS = 65535


class SettingsInvalid(UsageFault):
    """A settings file is missing, no TOML, or says something that the program does not understand."""

    code = "runtime.settings_invalid"


@dataclasses.dataclass(frozen=True)
class Secret:
    """Names a file that holds a secret; the secret itself is never in a settings file.

    `local:NAME` is a credential that systemd hands over (LoadCredential=NAME:...), anything else a path.
    """

    place: str

    def path(self) -> Path:
        """The file. Raises SettingsInvalid where systemd passed no such credential."""
        name = self.place.removeprefix("local:")
        if name == self.place:
            return Path(self.place)
        directory = os.environ.get(_CREDENTIALS)
        if directory is None or Path(name).name != name:
            raise SettingsInvalid(f"{self.place}: expected a credential that systemd passes, found no such")
        return Path(directory) / name


def load(kind: type[T], path: Path) -> T:
    """The settings in `path` as a `kind`. Raises SettingsInvalid with the name of what is wrong."""
    try:
        table = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise SettingsInvalid(f"{path}: no such settings file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsInvalid(f"{path}: {error}") from error
    return parse(kind, table, str(path))


def parse(kind: type[T], table: dict[str, Any], where: str) -> T:
    """A `kind` out of a parsed table; `where` begins the messages."""
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(typing.cast("Any", kind))}
    unknown = sorted(set(table) - set(fields))
    if unknown:
        raise SettingsInvalid(f"{where}: {unknown[0]}: no such setting; there are {', '.join(sorted(fields))}")
    values = {}
    for name, field in fields.items():
        if name in table:
            values[name] = _value(hints[name], table[name], f"{where}: {name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise SettingsInvalid(f"{where}: {name}: expected a value, found none")
    try:
        return kind(**values)
    except SettingsInvalid as fault:  # of its own `__post_init__`
        raise SettingsInvalid(f"{where}: {fault}") from None


def split(address: str, name: str) -> tuple[str, int]:
    """Host and port of `host:port`, `[::1]:port`. Raises SettingsInvalid."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > _PORTS:
        raise SettingsInvalid(f"{name}: expected host:port, found {address!r}")
    return host.strip("[]"), int(port)


def one_of(name: str, value: str, known: Sequence[str]) -> None:
    """Raises SettingsInvalid."""
    if value not in known:
        raise SettingsInvalid(f"{name}: expected one of {', '.join(known)}, found {value!r}")


def at_least(least: float, **values: float) -> None:
    """Raises SettingsInvalid for the first that is less."""
    for name, value in values.items():
        if value < least:
            raise SettingsInvalid(f"{name}: expected {least} or more, found {value}")


def check_daemon(log_level: str, metrics_port: int, drain_seconds: float) -> None:
    """What the settings of every daemon have. Raises SettingsInvalid."""
    one_of("log_level", log_level, _LEVELS)
    at_least(0, drain_seconds=drain_seconds)
    if not 0 <= metrics_port <= _PORTS:
        raise SettingsInvalid(f"metrics.port: expected 0 to {_PORTS}, found {metrics_port}")


def _value(hint: Any, value: Any, where: str) -> Any:
    if isinstance(hint, types.UnionType):
        hint = next(each for each in typing.get_args(hint) if each is not types.NoneType)
    if dataclasses.is_dataclass(hint) and hint is not Secret:
        return parse(typing.cast("type[Any]", hint), _typed(dict, value, "a table", where), where)
    if typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)[0]
        items = _typed(list, value, "an array", where)
        return tuple(_value(inner, item, f"{where}[{number}]") for number, item in enumerate(items))
    if hint in (Path, Secret):
        return hint(_typed(str, value, "a text", where))
    if hint is float and type(value) is int:
        return float(value)
    names = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
    return _typed(hint, value, names[hint], where)


def _typed(kind: type[T], value: Any, expected: str, where: str) -> T:
    if type(value) is not kind:
        raise SettingsInvalid(f"{where}: expected {expected}, found {value!r}")
    return value


def shown(settings: Any) -> dict[str, Any]:
    """Settings for a person: plain values; of secrets only where they lie."""
    result: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if isinstance(value, Secret):
            result[field.name] = f"(secret in {value.place})"
        elif dataclasses.is_dataclass(value):
            result[field.name] = shown(value)
        elif isinstance(value, tuple):
            result[field.name] = [shown(v) if dataclasses.is_dataclass(v) else _plain(v) for v in value]
        else:
            result[field.name] = _plain(value)
    return result


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value
