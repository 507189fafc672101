"""Settings: what is meant is understood, and everything else is refused by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime.settings import Secret, SettingsInvalid, load, shown


@dataclass(frozen=True)
class Inner:
    port: int = 1


@dataclass(frozen=True)
class Example:
    name: str
    state: Path
    password: Secret | None = None
    inner: Inner = Inner()
    inners: tuple[Inner, ...] = ()
    rate: float = 0.5
    on: bool = True


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "example.toml"
    path.write_text(text)
    return path


def test_every_kind_of_value_is_read(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        'name="a"\nstate="/s"\npassword="local:db"\nrate=2\non=false\n[inner]\nport=3\n[[inners]]\nport=4\n[[inners]]\n',
    )
    assert load(Example, path) == Example(
        "a", Path("/s"), Secret("local:db"), Inner(3), (Inner(4), Inner(1)), 2.0, on=False
    )


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('state="/s"', "name: expected a value, found none"),
        ('name="a"\nstate="/s"\nnaem="b"', "naem: no such setting; there are"),
        ('name=1\nstate="/s"', "name: expected a text, found 1"),
        ('name="a"\nstate="/s"\non=1', "on: expected true or false, found 1"),
        ('name="a"\nstate="/s"\n[inner]\nport="x"', "inner: port: expected a whole number, found 'x'"),
        ('name="a"\nstate="/s"\n[inner]\nport=true', "inner: port: expected a whole number, found True"),
        ('name="a"\nstate="/s"\ninners=[1]', r"inners\[0\]: expected a table, found 1"),
        ("name=", "example.toml: "),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, names: str) -> None:
    with pytest.raises(SettingsInvalid, match=names):
        load(Example, written(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="no such settings file"):
        load(Example, tmp_path / "none.toml")


def test_secrets_are_files_or_credentials_and_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "db").write_text("hunter2\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    for place in ("local:db", str(tmp_path / "db")):
        secret = Secret(place)
        assert secret.path().read_text() == "hunter2\n"
        assert "hunter2" not in repr(secret) + str(shown(Example("a", Path("/s"), secret)))


@pytest.mark.parametrize("directory", [None, "/run/credentials"])
def test_a_credential_that_systemd_does_not_pass_is_named(
    directory: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    if directory is not None:
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", directory)
    with pytest.raises(SettingsInvalid, match="local:"):
        Secret("local:../db").path()
