"""A vCenter's machines through the three daemons: discovered, backed up by a plan, restored."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path

from tests.sim.vcenter.sim_machine import SimMachine
from tests.system.services.site import Site
from tests.system.vsphere.office import MIB, scribble
from tests.system.vsphere.whole import id_of, opened, protect

ROOT = Path(__file__).parents[3]


def assert_restores(running: Site, machine: SimMachine, point: str) -> None:
    name = f"point-{point}"
    job = running.restored(point, name)
    assert job["state"] == "DONE", job
    for number in range(len(machine.machine.disks)):
        assert (running.landing / name / f"disk-{number}.raw").read_bytes() == machine.disk_bytes(number)


def test_a_machine_is_discovered_backed_up_incrementally_and_restored(tmp_path: Path) -> None:
    with opened(tmp_path) as (running, vcenter):
        web = vcenter.add_machine("web", [16 * MIB, 3 * MIB])
        scribble(random.Random(1), web, 20)
        protect(running, vcenter, quiesce="crash", proof_days=7)
        machine = id_of(vcenter, web)
        first = running.backed_up(machine)
        assert first["state"] == "DONE", first
        assert [disk["read"] for disk in first["result"]["disks"]] == ["full", "full"]
        web.guest_write(0, 5 * MIB, b"a day later" * 1000)
        second = running.backed_up(machine)
        assert second["state"] == "DONE", second
        result = second["result"]
        assert [disk["read"] for disk in result["disks"]] == ["incremental", "incremental"]
        assert result["disks"][0]["proof"]["cells"] > 0
        assert result["snapshot"]["quiesced"] == "crash"
        assert result["snapshot"]["removed"]
        assert web.snapshots == []
        assert_restores(running, web, result["recovery_point"])
        held = [web.disk_bytes(number) for number in (0, 1)]
        web.guest_write(0, 6 * MIB, b"and another")

        ingot(running, "machine", "restore", "web", "--to-hypervisor", "vc", "--name", "web-restored", "--power-on")
        ingot(running, "machine", "restore", "web", "--in-place", "--power-off")

        for back in (web, vcenter.machine("web-restored")):
            assert [back.disk_bytes(number) for number in (0, 1)] == held
        assert vcenter.machine("web-restored").machine.power == "poweredOn"
        told = running.metrics()
        address, transport = f'address="{vcenter.address}"', result["disks"][0]["transport"]
        assert {
            'ingot_vsa_backups_total{quiesced="crash"} 2.0',
            'ingot_vsa_restores_total{into="new"} 1.0',
            'ingot_vsa_restores_total{into="in_place"} 1.0',
            f"ingot_vcenter_snapshot_seconds_count{{{address}}} 2.0",
            f"ingot_vcenter_snapshot_creation_seconds_count{{{address}}} 2.0",
            f'ingot_vcenter_disks_read_total{{{address},how="incremental",transport="{transport}"}} 2.0',
        } <= set(told)
        there = set(re.findall(r"^(?:# TYPE )?(ingot_vcenter_[a-z_]+)", "\n".join(told), re.MULTILINE))
        assert set(re.findall("ingot_vcenter_[a-z_]+", (ROOT / "deploy/grafana/ingot.json").read_text())) <= there


def ingot(running: Site, *words: str) -> None:
    """A command of a person, which must end well."""
    who = ["--commserve", running.services.url, "--token-file", str(running.services.token_file)]
    command = [sys.executable, "-m", "ingot", *words, *who]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
