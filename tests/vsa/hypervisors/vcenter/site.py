"""A simulated vCenter with a machine, a connection to it, and the ways to hold the machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from media.recovery_point import JSON
from runtime.clock import SystemClock
from tests.sim.vcenter.vcenter import Vcenter
from vsa.hypervisors.vcenter.connection import Connection
from vsa.hypervisors.vcenter.guards import Floors
from vsa.hypervisors.vcenter.holding import Ways
from vsa.hypervisors.vcenter.limits import Limits, Most
from vsa.hypervisors.vcenter.transport.nbdkit import NbdkitTransport, Vddk
from vsa.hypervisors.vcenter.trust import Trust

NBDKIT = Path(__file__).parents[3] / "sim" / "vcenter" / "nbdkit"
MIB = 1 << 20


def vddk(vcenter: Vcenter, **other: Any) -> Vddk:
    values: dict[str, Any] = {
        "program": str(NBDKIT),
        "directory": "/opt/vddk",
        "server": "127.0.0.1",
        "port": vcenter.port,
        "user": vcenter.user,
        "password": vcenter.password,
        "thumbprint": vcenter.thumbprint,
    }
    return Vddk(**{**values, **other})


def short_description(
    connection: Connection, machine: Any, config: Any, protected: frozenset[str], warn: Callable[[str], None]
) -> JSON:
    """What a machine is, in one word; describing is tested elsewhere."""
    del connection, machine, protected, warn
    return {"name": config.name}


@contextmanager
def ways(vcenter: Vcenter, most: Most | None = None, floors: Floors | None = None) -> Iterator[Ways]:
    clock = SystemClock()
    trust = Trust(vcenter.certificate.read_text())
    with Connection(vcenter.address, vcenter.user, vcenter.password, trust, clock) as connection:
        transport = NbdkitTransport(vddk(vcenter), clock)
        yield Ways(connection, [transport], Limits(most or Most()), floors or Floors(), short_description)
