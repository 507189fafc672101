"""A pool in S3 whose credentials nobody has but its MediaAgents."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ingot.allinone import Ports
from proto.agent.joining import join
from tests.s3.buckets import Service
from tests.s3.own_server import OwnServer
from tests.s3.radosgw import RadosGateway
from tests.system.services.site import Site, site

NEWER = {"access_key_id": "NEWER", "secret_access_key": "another/secret+of+the/tests"}
TEMPORARY = {**NEWER, "session_token": "a+token+for+a+while"}


@dataclass
class Place:
    """An S3 server; `change` has it take `newer` from then on, and nothing else."""

    service: Service
    newer: dict[str, str]
    change: Callable[[], None]


def _own(server: OwnServer) -> Place:
    """Ours, where the newer ones are temporary."""

    def change() -> None:
        server.secret_by_access_key = {TEMPORARY["access_key_id"]: TEMPORARY["secret_access_key"]}
        server.accepts_token = lambda token: token == TEMPORARY["session_token"]

    return Place(server.service, TEMPORARY, change)


def _real(gateway: RadosGateway) -> Place:
    """Ceph's, with a user of our own who gets another key."""
    user, access, secret = "changing", "CHANGING", "the/first+secret"
    gateway.add_user(user, access, secret)

    def change() -> None:
        gateway.add_key(user, NEWER["access_key_id"], NEWER["secret_access_key"])
        gateway.remove_key(user, access)

    return Place(Service(gateway.https, access, secret, str(gateway.ca)), NEWER, change)


@pytest.fixture(params=["own", "radosgw"])
def place(request: pytest.FixtureRequest) -> Place:
    if request.param == "own":
        return _own(request.getfixturevalue("own_server"))
    return _real(request.getfixturevalue("gateway"))


def ingot(lab: Site, *arguments: object) -> subprocess.CompletedProcess[str]:
    token = ["--commserve", lab.services.url, "--token-file", lab.services.token_file]
    command = [sys.executable, "-m", "ingot", *arguments, *token]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


def secret_file(lab: Site, secret: dict[str, str]) -> Path:
    path = lab.directory / "credentials.json"
    path.touch(0o600)
    path.write_text(json.dumps(secret))
    return path


def backed_up_and_restored(lab: Site, pool_id: str, name: str) -> None:
    job = lab.backed_up("web0")
    assert job["state"] == "DONE", job
    body = {"pool_id": pool_id, "point": job["result"]["recovery_point"], "directory": str(lab.landing / name)}
    restored = lab.ended(lab.rest.post("/restores", body))
    assert restored["state"] == "DONE", restored
    assert (lab.landing / name / "disk-0.raw").read_bytes() == (lab.images / "web0/disk-0.raw").read_bytes()


@contextmanager
def second_media_agent(lab: Site, pool: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One more, which lists the pool and has its key, and no credentials; as the CommServe shows it."""
    state, ports = lab.directory / "second", Ports.free()
    token = lab.rest.post("/join-tokens", {"role": "mediaagent", "name": "second"})["token"]
    addresses = [f"loopback=127.0.0.1:{ports.control}:{ports.data}"]
    join(lab.services.url, token, "mediaagent", "second", addresses, state)
    (entry,) = (
        path
        for path in (lab.services.state / "mediaagent").rglob("pool.json")
        if json.loads(path.read_text())["url"] == pool["url"]
    )
    shutil.copy(entry.with_name("pool.key"), state / "cloud.key")
    settings = lab.directory / "second.toml"
    settings.write_text(
        f"""state = "{state}"
control = "127.0.0.1:{ports.control}"
data = "127.0.0.1:{ports.data}"
ends_with_parent = true
pools = [{{name = "cloud", url = "{pool["url"]}", key_file = "{state}/cloud.key"}}]
[metrics]
port = {ports.metrics("mediaagent")}
"""
    )
    with (lab.directory / "second.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "mediaagent", "--config", settings], stdout=log, stderr=log)
        try:
            yield lab.wait("the second MediaAgent", lambda: agent_named(lab, "second"))
        finally:
            process.terminate()
            process.wait()


def agent_named(lab: Site, name: str) -> dict[str, Any] | None:
    found = [agent for agent in lab.rest.all("/agents", name=name) if agent["state"] == "active"]
    return found[0] if found else None


@pytest.mark.usefixtures("credentials")
def test_credentials_of_a_pool_are_known_to_its_media_agents_alone(tmp_path: Path, place: Place) -> None:
    service, newer = place.service, place.newer
    url = service.url(service.new_bucket())
    first = {"access_key_id": service.access_key, "secret_access_key": service.secret_key}
    with site(tmp_path, 6) as lab:
        refused = ingot(lab, "pool", "add", "cloud", "--url", url, "--secret-file", secret_file(lab, newer))
        assert (refused.returncode, "media.credentials_wrong" in refused.stdout) == (1, True), refused
        assert ingot(lab, "pool", "remove", "cloud").returncode == 0
        added = ingot(lab, "pool", "add", "cloud", "--url", url, "--secret-file", secret_file(lab, first))
        assert added.returncode == 0, added
        (pool,) = lab.rest.all("/pools", name="cloud")
        plan = lab.protect()
        lab.rest.put(f"/plans/{plan['id']}", {"name": plan["name"], "pool_id": pool["id"]})
        backed_up_and_restored(lab, pool["id"], "first")

        place.change()
        assert lab.backed_up("web0")["fault"]["code"] == "media.credentials_wrong"
        replaced = ingot(lab, "pool", "secret", "cloud", "--secret-file", secret_file(lab, newer))
        assert replaced.returncode == 0, replaced
        backed_up_and_restored(lab, pool["id"], "newer")
        before = lab.services.pids()["mediaagent"]
        lab.kill("mediaagent")
        lab.wait("the MediaAgent", lambda: lab.services.pids()["mediaagent"] not in (before, None))
        backed_up_and_restored(lab, pool["id"], "restarted")

        with second_media_agent(lab, pool) as second:
            both = ["--agent", "second", "--agent", "mediaagent"]
            given = ingot(lab, "pool", "secret", "cloud", *both, "--secret-file", secret_file(lab, newer))
            assert given.returncode == 0, given
            lab.wait("the pool", lambda: second["id"] in lab.rest.get(f"/pools/{pool['id']}")["agents"])
            old = agent_named(lab, "mediaagent")
            assert old is not None
            lab.rest.post(f"/agents/{old['id']}/revoke")
            backed_up_and_restored(lab, pool["id"], "second")
        told = ingot(lab, "support-bundle", "--state", lab.services.state, "--to", tmp_path / "bundle.tar.gz")
        shutil.unpack_archive(tmp_path / "bundle.tar.gz", tmp_path / "bundle", filter="data")
        (tmp_path / "credentials.json").unlink()
    secrets = [service.secret_key, *(newer[name] for name in newer if name != "access_key_id")]
    holding = {
        path.name
        for path in tmp_path.rglob("*")
        if path.is_file() and any(secret.encode() in path.read_bytes() for secret in secrets)
    }
    assert holding == {"s3.json"}, told
