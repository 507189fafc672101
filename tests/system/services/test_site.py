"""The three services on one machine, as somebody who begins with them would use them."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ingot.support import parts
from tests.system.services.site import Site, change_image, site

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("site"), 24, 8) as lab:
        lab.protect()
        yield lab


def test_machines_are_discovered_and_protected_by_the_rule(lab: Site) -> None:
    machines = {machine["id"]: machine for machine in lab.rest.all("/machines")}
    assert sorted(machines) == ["web0", "web1"]
    assert all(machine["plan_id"] for machine in machines.values())


def test_a_machine_is_backed_up_incrementally_and_every_point_restores(lab: Site) -> None:
    disk, chance = lab.images / "web0/disk-0.raw", random.Random(1)
    moments: dict[str, bytes] = {}
    for number in range(3):
        job = lab.backed_up("web0")
        assert job["state"] == "DONE", job
        moments[job["result"]["recovery_point"]] = disk.read_bytes()
        if number:
            assert job["result"]["new_bytes"] < 4 << 20
        change_image(disk, chance)
    for point, before in moments.items():
        job = lab.restored(point, point)
        assert job["state"] == "DONE", job
        assert (lab.landing / point / "disk-0.raw").read_bytes() == before


def test_a_run_of_the_plan_backs_up_all_its_machines(lab: Site) -> None:
    plan = next(iter(lab.rest.all("/plans")))
    run = lab.rest.post(f"/plans/{plan['id']}/run")
    lab.wait("the run", lambda: lab.rest.get(f"/runs/{run['id']}")["state"] == "DONE")
    newest = {machine["id"]: machine["last_point_at"] for machine in lab.rest.all("/machines")}
    assert all(newest.values())


def test_the_repository_restores_without_any_service(lab: Site, tmp_path: Path) -> None:
    job = lab.backed_up("web1")
    key = next((lab.services.state / "mediaagent").rglob("*.key"))
    program = lab.repository / "RESTORE/recover.py"
    to = tmp_path / "recovered.raw"
    command = [sys.executable, "-I", program, "--repository", lab.repository, "--key-file", key]
    subprocess.run([*command, job["result"]["recovery_point"], "--to", to], check=True, capture_output=True)
    assert to.read_bytes() == (lab.images / "web1/disk-0.raw").read_bytes()


def lines_of(lab: Site, service: str, trace: str) -> list[str]:
    """As grep finds them."""
    log = (lab.services.state / "logs" / f"{service}.log").read_text()
    return [line for line in log.splitlines() if trace in line]


def test_one_trace_leads_from_a_request_through_the_logs_of_all_services(lab: Site) -> None:
    asked = "4bf92f3577b34da6a3ce929d0e0e4736"
    token = lab.services.token_file.read_text().strip()
    headers = {"Authorization": f"Bearer {token}", "traceparent": f"00-{asked}-00f067aa0ba902b7-01"}
    answer = httpx.post(f"{lab.services.url}/api/v1/machines/web1/backup", headers=headers, trust_env=False)
    assert answer.headers["ingot-trace"] == answer.json()["trace"] == asked
    job = lab.ended(answer.json())
    assert job["state"] == "DONE", job
    restored = lab.restored(job["result"]["recovery_point"], "traced")
    assert restored["trace"] != asked, "another request, which brought none"
    for trace, id_ in ((asked, job["id"]), (restored["trace"], restored["id"])):
        for service in ("commserve", "mediaagent", "vsa"):
            found = [json.loads(line) for line in lines_of(lab, service, trace)]
            assert id_ in {line.get("job") for line in found}, (service, found)
    plan = next(iter(lab.rest.all("/plans")))
    run = lab.rest.post(f"/plans/{plan['id']}/run")
    lab.wait("the run", lambda: lab.rest.get(f"/runs/{run['id']}")["state"] == "DONE")
    assert len({each["trace"] for each in lab.rest.all("/jobs", run_id=run["id"])}) == 1, "one run, one trace"


def test_the_logs_of_all_services_tell_of_a_job_and_hold_no_secret(lab: Site) -> None:
    job = lab.backed_up("web1")
    token = lab.services.token_file.read_text().strip()
    for service in ("commserve", "mediaagent", "vsa"):
        text = (lab.services.state / "logs" / f"{service}.log").read_text()
        lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        assert any(line.get("job") == job["id"] for line in lines), service
        assert token not in text
        assert "PRIVATE KEY" not in text


def test_every_metric_of_the_dashboard_exists(lab: Site) -> None:
    """But for those of vCenters, of which a site without one tells nothing."""
    assert lab.backed_up("web1")["state"] == "DONE"
    there = set(re.findall(r"^(?:# TYPE )?(ingot_[a-z_]+)", "\n".join(lab.metrics()), re.MULTILINE))
    dashboard = json.loads((ROOT / "deploy/grafana/ingot.json").read_text())
    asked = {
        name
        for panel in dashboard["panels"]
        for t in panel["targets"]
        for name in re.findall("ingot_[a-z_]+", t["expr"])
        if not name.startswith("ingot_vcenter_")
    }
    assert asked - there == set()


def test_a_restore_outside_the_landing_directory_is_refused_by_the_agent(lab: Site, tmp_path: Path) -> None:
    job = lab.backed_up("web1")
    pool = next(iter(lab.rest.all("/pools")))
    point = job["result"]["recovery_point"]
    ended = lab.ended(lab.rest.post("/restores", {"pool_id": pool["id"], "point": point, "directory": str(tmp_path)}))
    assert (ended["state"], ended["fault"]["code"]) == ("FAILED", "vsa.landing_refused")
    assert list(tmp_path.iterdir()) == []


def test_an_agents_troubles_reach_whoever_asks_for_a_support_bundle(lab: Site, tmp_path: Path) -> None:
    """The agent itself need not be asked."""
    refused = lab.ended(
        lab.rest.post("/restores", {"pool_id": next(iter(lab.rest.all("/pools")))["id"], **outside(lab, tmp_path)})
    )
    assert refused["state"] == "FAILED", refused

    def told() -> bool:
        (vsa,) = lab.rest.all("/agents", role="vsa")
        return any(refused["id"] in line and refused["fault"]["code"] in line for line in vsa["troubles"])

    lab.wait("the heartbeat", told)
    assert all(abs(agent["clock_ahead_ms"]) < 30_000 for agent in lab.rest.all("/agents"))
    parts_ = {part.name: part.body for part in parts(lab.services.state, {}, lab.rest)}
    assert refused["fault"]["code"].encode() in parts_["commserve/agents.json"]


def outside(lab: Site, directory: Path) -> dict[str, str]:
    """A restore to where nothing may land."""
    job = lab.backed_up("web1")
    return {"point": job["result"]["recovery_point"], "directory": str(directory / "elsewhere")}
