"""Identities on disk: saved whole, loaded checked."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from runtime.certificates import Identity, IdentityUnfit, key_pem, load_identity, new_key, save_identity
from tests.proto.authority import Authority


@pytest.fixture(scope="module")
def identity() -> Identity:
    return Authority().agent("vsa", "0f0e")


def test_a_saved_identity_is_loaded_and_only_its_owner_can_read_it(tmp_path: Path, identity: Identity) -> None:
    save_identity(tmp_path / "identity", identity)
    assert load_identity(tmp_path / "identity") == identity
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "identity").iterdir()} == {0o600}
    assert identity.uri == "ingot://agent/vsa/0f0e"


def test_a_key_of_another_certificate_is_refused(tmp_path: Path, identity: Identity) -> None:
    save_identity(tmp_path, replace(identity, key=key_pem(new_key())))
    with pytest.raises(IdentityUnfit, match="of another key"):
        load_identity(tmp_path)


@pytest.mark.parametrize("name", ["pair.pem", "authority.pem"])
def test_a_missing_or_damaged_file_is_named(tmp_path: Path, identity: Identity, name: str) -> None:
    save_identity(tmp_path, identity)
    (tmp_path / name).write_bytes(b"-----BEGIN NOTHING-----")
    with pytest.raises(IdentityUnfit, match=str(tmp_path)):
        load_identity(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(IdentityUnfit, match=name):
        load_identity(tmp_path)


def test_renewal_is_due_at_two_thirds(identity: Identity) -> None:
    first, last = identity.certificate.not_valid_before_utc, identity.certificate.not_valid_after_utc
    due = first + (last - first) * 2 / 3
    assert not identity.renewal_due(due - timedelta(seconds=1))
    assert identity.renewal_due(due)
