"""Repositories in S3 through the front door: against the real server, and on days when something is wrong."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ingot.front_door import ROOT, FrontDoor
from tests.s3.buckets import Service
from tests.s3.own_server import Misbehaviour, OwnServer
from tests.s3.radosgw import OTHER_ACCESS_KEY, OTHER_SECRET_KEY


@pytest.fixture
def door(tmp_path: Path, credentials: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> FrontDoor:
    """Nothing is there yet, and the environment names a key file and no repository."""
    credentials.chdir(tmp_path)
    credentials.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    credentials.setenv("INGOT_KEY_FILE", str(tmp_path / "key"))
    credentials.delenv("INGOT_PASSPHRASE_FILE", raising=False)
    return FrontDoor(tmp_path, capsys)


def go_to(service: Service, bucket: str, patch: pytest.MonkeyPatch) -> str:
    """From now on the front door leads there."""
    patch.setenv("AWS_ACCESS_KEY_ID", service.access_key)
    patch.setenv("AWS_SECRET_ACCESS_KEY", service.secret_key)
    patch.setenv("INGOT_REPOSITORY", service.url(bucket))
    return service.url(bucket)


def recover(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The recovery program, as a process of its own that has the credentials of this one."""
    command = [sys.executable, ROOT / "media" / "recover.py", "--repository", url, "--key-file", "key", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_machine_is_backed_up_to_the_real_server_and_comes_back(
    door: FrontDoor, radosgw: Service, credentials: pytest.MonkeyPatch
) -> None:
    url = go_to(radosgw, radosgw.new_bucket(), credentials)
    made = door.document("init")
    assert made["url"] == url
    assert made["abilities"] == {
        "put_if_absent": "yes",
        "race": "one of 16 wins",
        "listing": "consistent",
        "delete": "yes",
        "checksum_header": "ignored",
        "checksum_trailer": "refused: MissingContentLength",
        "signature": "checked",
        "versions": "none",
        "object_lock": "none",
    }
    image = door.image(size=9_000_000)
    first = door.document("backup", image)
    assert first["traffic"]["requests"]["put"] > 3
    assert first["traffic"]["sent_bytes"] > first["stored_bytes"]
    assert first["traffic"]["usd"] > 0
    assert door.document("backup", image)["new_chunks"] == 0
    assert [point["id"] for point in door.document("list")] == ["0000000001", "0000000002"]
    said = door.good("restore", "latest", "--to", "back.raw", "--limit-rate", "1GiB,00:00-00:00=none").out
    assert "  traffic  " in said
    assert Path("back.raw").read_bytes() == image.read_bytes()
    assert door.document("verify", "--all")["good"] is True
    looked = door.document("doctor")
    assert looked["problems"] == []
    assert looked["repository"]["url"] == url
    assert looked["repository"]["signature"] == "checked"
    assert [line[:10] for line in recover(url).stdout.splitlines()] == ["0000000001", "0000000002"]
    assert recover(url, "latest", "--to", "recovered.raw").returncode == 0
    assert Path("recovered.raw").read_bytes() == image.read_bytes()


def test_a_repository_that_was_copied_to_a_bucket_file_by_file_is_that_repository(
    door: FrontDoor, radosgw: Service, credentials: pytest.MonkeyPatch
) -> None:
    credentials.setenv("INGOT_REPOSITORY", str(door.repository))
    door.good("init")
    image = door.image()
    door.good("backup", image)
    bucket, client = radosgw.new_bucket(), radosgw.client()
    for path in door.repository.rglob("*"):
        if path.is_file():
            client.put_object(Bucket=bucket, Key=f"vms/{path.relative_to(door.repository)}", Body=path.read_bytes())
    url = go_to(radosgw, bucket, credentials)
    door.good("restore", "latest", "--to", "back.raw")
    assert Path("back.raw").read_bytes() == image.read_bytes()
    assert recover(url, "latest", "--to", "recovered.raw").returncode == 0
    assert Path("recovered.raw").read_bytes() == image.read_bytes()
    assert door.document("backup", image)["new_chunks"] == 0


def test_a_policy_that_denies_deleting_is_named_and_stops_no_backup(
    door: FrontDoor, radosgw: Service, credentials: pytest.MonkeyPatch
) -> None:
    bucket = radosgw.new_bucket()
    statement = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": ["s3:DeleteObject", "s3:DeleteObjectVersion"],
        "Resource": f"arn:aws:s3:::{bucket}/*",
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    radosgw.client().put_bucket_policy(Bucket=bucket, Policy=policy)
    go_to(radosgw, bucket, credentials)
    assert door.document("init")["abilities"]["delete"].startswith("denied: ")
    image = door.image()
    door.good("backup", image)
    door.good("restore", "latest", "--to", "back.raw")
    assert Path("back.raw").read_bytes() == image.read_bytes()
    added = door.document("key", "add", "--new-key-file", "second")
    said = door.run("key", "remove", added["slot"], "--json")
    assert (said.code, said.json["error"]["code"]) == (1, "media.delete_denied")


def test_the_policy_in_the_readme_is_enough(door: FrontDoor, radosgw: Service, credentials: pytest.MonkeyPatch) -> None:
    bucket = radosgw.new_bucket()
    (block,) = re.findall(r"```json\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    policy = json.loads(block.replace("my-bucket", bucket))
    for statement in policy["Statement"]:
        statement["Principal"] = {"AWS": "arn:aws:iam:::user/somebody"}
    radosgw.client().put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    somebody = radosgw._replace(access_key=OTHER_ACCESS_KEY, secret_key=OTHER_SECRET_KEY)
    go_to(somebody, bucket, credentials)
    assert door.document("init")["abilities"]["delete"].startswith("denied: ")
    image = door.image()
    door.good("backup", image)
    assert door.document("verify", "--all")["good"] is True
    door.good("restore", "latest", "--to", "back.raw")
    assert Path("back.raw").read_bytes() == image.read_bytes()
    assert door.document("doctor")["problems"] == []


def test_a_bucket_without_conditions_is_refused_by_name(
    door: FrontDoor, radosgw: Service, credentials: pytest.MonkeyPatch
) -> None:
    """The real server has none where it keeps versions."""
    bucket = radosgw.new_bucket()
    radosgw.keep_versions(bucket)
    go_to(radosgw, bucket, credentials)
    said = door.run("init", "--json")
    assert (said.code, said.json["error"]["code"]) == (1, "media.repository_unfit")
    assert "If-None-Match" in said.json["error"]["message"]
    assert not door.key.exists()


def test_wrong_credentials_and_a_missing_bucket_are_named_by_the_real_server(
    door: FrontDoor, radosgw: Service, credentials: pytest.MonkeyPatch
) -> None:
    go_to(radosgw, "nobody-made-this", credentials)
    assert code_of(door, "init") == "media.bucket_missing"
    bucket = radosgw.new_bucket()
    go_to(radosgw, bucket, credentials)
    credentials.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert code_of(door, "init") == "media.credentials_wrong"
    credentials.setenv("AWS_ACCESS_KEY_ID", "UNKNOWN")
    assert code_of(door, "init") == "media.credentials_wrong"
    credentials.delenv("AWS_ACCESS_KEY_ID")
    credentials.delenv("AWS_SECRET_ACCESS_KEY")
    assert code_of(door, "init") == "media.credentials_missing"


def code_of(door: FrontDoor, *arguments: str) -> str:
    """The code of the fault that a command ends with."""
    said = door.run(*arguments, "--json")
    assert said.code == 1, said
    return str(said.json["error"]["code"])


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("be of another time", "media.clock_skewed"),
        ("expire", "media.credentials_expired"),
        ("be full", "media.repository_full"),
        ("deny", "media.repository_denied"),
    ],
)
def test_what_ends_a_backup_in_the_middle_is_named_and_the_next_one_goes_on(
    door: FrontDoor, own_server: OwnServer, credentials: pytest.MonkeyPatch, how: Misbehaviour, code: str
) -> None:
    go_to(own_server.service, own_server.service.new_bucket(), credentials)
    door.good("init")
    image = door.image()
    own_server.misbehave(how, "put", after=2, times=1000)  # the claim, twice; then the first container
    assert code_of(door, "backup", str(image)) == code
    own_server.behave()
    assert door.document("list") == []
    door.good("backup", image)
    door.good("restore", "latest", "--to", "back.raw")
    assert Path("back.raw").read_bytes() == image.read_bytes()


def test_a_token_that_is_renewed_in_the_middle_of_a_backup_is_not_noticed(
    door: FrontDoor, own_server: OwnServer, credentials: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bucket = own_server.service.new_bucket()
    go_to(own_server.service, bucket, credentials)
    door.good("init")
    credentials.delenv("AWS_ACCESS_KEY_ID")
    credentials.delenv("AWS_SECRET_ACCESS_KEY")
    program = Path(__file__).with_name("renewing_credentials.py")
    service = own_server.service
    (tmp_path / "config").write_text(
        f"[default]\ncredential_process = {sys.executable} {program} {tmp_path}/turns "
        f"{service.access_key} {service.secret_key}\n"
    )
    credentials.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    asked = itertools.count()
    own_server.accepts_token = lambda token: (
        token is not None and token >= ("token-1" if next(asked) < 9 else "token-2")
    )
    image = door.image()
    door.good("backup", image)
    door.good("restore", "latest", "--to", "back.raw")
    assert Path("back.raw").read_bytes() == image.read_bytes()
    assert (tmp_path / "turns").read_text() == "xxx"  # once for the backup, once in its middle, once for the restore


@pytest.mark.parametrize("how", ["throttle", "reset", "lose the reply", "conflict"])
def test_a_backup_outlives_a_server_that_fails_every_now_and_then(
    door: FrontDoor, own_server: OwnServer, credentials: pytest.MonkeyPatch, how: Misbehaviour
) -> None:
    go_to(own_server.service, own_server.service.new_bucket(), credentials)
    door.good("init")
    image = door.image()
    for after in (1, 2, 4):
        own_server.misbehave(how, "put", after=after)
    own_server.misbehave(how, "list", after=1)
    door.good("backup", image)
    own_server.misbehave(how, "get", after=2, times=2)
    door.good("restore", "latest", "--to", "back.raw")
    assert Path("back.raw").read_bytes() == image.read_bytes()
    assert door.document("verify", "--all")["good"] is True


def test_a_server_that_lies_about_success_is_unfit_when_it_lies_to_the_probe(
    door: FrontDoor, own_server: OwnServer, credentials: pytest.MonkeyPatch
) -> None:
    go_to(own_server.service, own_server.service.new_bucket(), credentials)
    own_server.misbehave("lie", "put")
    assert code_of(door, "init") == "media.repository_unfit"


def test_a_container_whose_put_was_a_lie_is_found_by_verify_and_stored_again_by_the_next_backup(
    door: FrontDoor, own_server: OwnServer, credentials: pytest.MonkeyPatch
) -> None:
    go_to(own_server.service, own_server.service.new_bucket(), credentials)
    door.good("init")
    image = door.image()
    own_server.misbehave("lie", "put", after=2)
    door.good("backup", image)
    said = door.run("verify", "--json")
    assert said.code == 3
    assert said.json["points"][0]["lost_extents"][0]["code"] == "media.container_missing"
    door.good("backup", image)
    assert door.document("verify")["good"] is True
    door.good("restore", "latest", "--to", "back.raw")
    assert Path("back.raw").read_bytes() == image.read_bytes()
