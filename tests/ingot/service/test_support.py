"""A support bundle holds what helps, and no secret."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingot.faults import BundleExists
from ingot.support import Part, parts, struck, write_bundle
from runtime.certificates import key_pem, new_key

KEY = key_pem(new_key())
SECRETS = [
    b"ingot_0f0e_" + b"s" * 43,
    b"id." + b"s" * 43 + b"." + b"ab" * 32,
    KEY.strip(),
    b"ab" * 32,
    b"AWS_SECRET_ACCESS_KEY=abc/def",
    b"passphrase: hunter2",
    b"password=hunter2",
]
MEMBERS = [b"password", b"secret", b"secret_access_key"]


@pytest.mark.parametrize("secret", SECRETS)
def test_what_looks_like_a_secret_is_struck_out(secret: bytes) -> None:
    found = struck(b'{"event": "x", "token": "' + secret + b'"} next line')
    assert secret not in found
    assert found.startswith(b'{"event": "x"')
    assert found.endswith(b"next line")


@pytest.mark.parametrize("name", MEMBERS)
def test_so_is_what_lies_under_a_name_of_secrets_in_json_and_in_toml(name: bytes) -> None:
    found = struck(b'{"event": "x", "' + name + b'": "hunter 2", "next": "member"}')
    assert b"hunter" not in found
    assert found.startswith(b'{"event": "x"')
    assert found.endswith(b'"next": "member"}')
    assert b"hunter" not in struck(name + b' = "hunter 2"')


@given(st.lists(st.sampled_from([b"job 0198c2f4", b"c/0000000001/00000a", b"2026-01-01T00:00:00Z", b"12345"])))
def test_what_helps_stays(words: list[bytes]) -> None:
    text = b" ".join(words)
    assert struck(text) == text


def test_a_bundle_holds_settings_the_ends_of_logs_and_findings(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "vsa.toml").write_text("slots = 4\n")
    (tmp_path / "logs/vsa.log").write_bytes(b"x" * (6 << 20) + b'{"event": "ready"}\n' + SECRETS[0])
    (tmp_path / "vsa").mkdir()
    (tmp_path / "vsa/pair.pem").write_bytes(KEY)
    bundle = tmp_path / "bundle.tar.gz"
    assert write_bundle(bundle, parts(tmp_path, {"problems": []}, None), 0) == 3
    assert bundle.stat().st_mode & 0o777 == 0o600
    with tarfile.open(bundle) as opened:
        names = opened.getnames()
        log = opened.extractfile("ingot-support/logs/vsa.log").read()  # type: ignore[union-attr]
    assert names == [f"ingot-support/{name}" for name in ("doctor.json", "settings/vsa.toml", "logs/vsa.log")]
    assert len(log) < 5 << 20
    assert b'{"event": "ready"}' in log
    assert SECRETS[0] not in log


def test_a_bundle_is_not_written_over_another_file(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    with pytest.raises(BundleExists):
        write_bundle(tmp_path / "there", iter([Part("a", b"")]), 0)
