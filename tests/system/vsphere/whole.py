"""A simulated vCenter, and the three services that protect its machines, as processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ingot.rest import discovery
from tests.sim.vcenter.sim_machine import SimMachine
from tests.sim.vcenter.vcenter import Vcenter
from tests.system.services.site import Site, site
from tests.vsa.hypervisors.vcenter.site import NBDKIT


@contextmanager
def opened(directory: Path) -> Iterator[tuple[Site, Vcenter]]:
    with pytest.MonkeyPatch.context() as patched, Vcenter(directory / "vcenter") as vcenter:
        patched.setenv("PATH", f"{NBDKIT.parent}:{os.environ['PATH']}")
        with site(directory / "site") as running:
            yield running, vcenter


def protect(running: Site, vcenter: Vcenter, **hold: Any) -> None:
    """A plan for every machine of the vCenter, which is discovered."""
    rest = running.rest
    agents = [agent["id"] for agent in rest.all("/agents", role="vsa")]
    settings = {
        "address": vcenter.address,
        "user": vcenter.user,
        "authority": vcenter.certificate.read_text(),
        "nbd": {"vddk": "/opt/vddk"},
    }
    body = {"name": "vc", "kind": "vcenter", "settings": settings, "secret": vcenter.password, "agents": agents}
    hypervisor = rest.post("/hypervisors", body)
    pool = next(iter(rest.all("/pools")))
    promise = {"schedule": {"cron": ""}, "retention": {"last": 50}, "hold": hold}
    plan = rest.post("/plans", {"name": "vms", "pool_id": pool["id"], **promise})
    rest.post("/rules", {"name": "all", "plan_id": plan["id"]})
    found = running.ended(discovery(rest, hypervisor["id"]))
    assert found["state"] == "DONE", found


def id_of(vcenter: Vcenter, machine: SimMachine) -> str:
    return f"{vcenter.instance_uuid}:{machine.instance_uuid}"
