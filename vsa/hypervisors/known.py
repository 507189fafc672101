"""From what the CommServe says of a hypervisor to the hypervisor."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry

from proto import agents_pb2
from runtime.clock import Waiting
from vsa.faults import HypervisorUnknown
from vsa.hypervisors import Hypervisor
from vsa.hypervisors.images import ImagesHypervisor

if TYPE_CHECKING:
    from vsa.hypervisors.vcenter.connections import Connections
    from vsa.hypervisors.vcenter.hypervisor import VcenterHypervisor
    from vsa.hypervisors.vcenter.limits import Limits, Most
    from vsa.hypervisors.vcenter.live import Changes

Unseal = Callable[[bytes, str], bytes]


class Known:
    """The kinds that this build knows. One of a process, because connections are shared; safe from several threads."""

    def __init__(self, clock: Waiting, unseal: Unseal, registry: CollectorRegistry | None = None) -> None:
        """`unseal(sealed, owner)` opens what was sealed to this agent."""
        self._clock = clock
        self._unseal = unseal
        self._registry = registry
        self._connections: Connections | None = None
        self._limits: dict[tuple[str, Most], Limits] = {}
        self._lock = threading.Lock()

    def open(self, wanted: agents_pb2.Hypervisor) -> Hypervisor:
        """Raises HypervisorUnknown, SealBroken, and what connecting does."""
        if wanted.kind == "vcenter":
            return self.vcenter(wanted)
        if wanted.kind != "images":
            raise HypervisorUnknown(f"hypervisor {wanted.name}: kind {wanted.kind!r} is not known to this build")
        return _images(wanted.name, wanted.settings, self._clock)

    def vcenter(self, wanted: agents_pb2.Hypervisor) -> VcenterHypervisor:
        """One of kind `vcenter`, for what only such a one can do. Raises as `open`."""
        # Here, because pyVmomi takes seconds to import and not every VSA has a vCenter.
        from vsa.hypervisors.vcenter.connections import Connections  # noqa: PLC0415
        from vsa.hypervisors.vcenter.hypervisor import VcenterHypervisor  # noqa: PLC0415
        from vsa.hypervisors.vcenter.limits import Limits  # noqa: PLC0415
        from vsa.hypervisors.vcenter.metrics import VcenterMetrics  # noqa: PLC0415
        from vsa.hypervisors.vcenter.settings import read_settings  # noqa: PLC0415
        from vsa.hypervisors.vcenter.ways import most_of  # noqa: PLC0415

        settings = read_settings(wanted.name, wanted.settings)
        if not wanted.sealed_secret:
            raise HypervisorUnknown(f"hypervisor {wanted.name}: expected a password sealed to this agent, found none")
        password = self._unseal(wanted.sealed_secret, f"hypervisor:{wanted.id}").decode()
        with self._lock:
            self._connections = self._connections or Connections(self._clock, VcenterMetrics(self._registry))
            most = most_of(settings.limits)
            limits = self._limits.setdefault((wanted.id, most), Limits(most))
        connection = self._connections.to(wanted.id, settings, password)
        return VcenterHypervisor(wanted.name, settings, connection, password, limits)

    def following(self, wanted: agents_pb2.Hypervisor, go_on: Callable[[], bool]) -> Iterator[Changes]:
        """What changes in its inventory, while `go_on`. Raises as `open`."""
        from vsa.hypervisors.vcenter.live import Live  # noqa: PLC0415 # as in `vcenter`

        return Live(self.vcenter(wanted).connection).follow(go_on)

    def check(self, wanted: agents_pb2.Hypervisor) -> dict[str, Any]:
        """What was reached, and what its user lacks there. Raises as `open`."""
        if wanted.kind != "vcenter":
            machines = sum(1 for _ in self.open(wanted).discover())
            return {"reached": f"a directory with {machines} machines", "missing": []}
        from vsa.hypervisors.vcenter.privileges import missing_privileges  # noqa: PLC0415 # as in `vcenter`

        connection = self.vcenter(wanted).connection
        missing = [
            {
                "privilege": each.need.privilege,
                "for": each.need.purpose,
                "on": list(each.names),
                "objects": each.count,
                "of": each.of,
            }
            for each in missing_privileges(connection)
        ]
        return {"reached": str(connection.about.fullName), "user": connection.user, "missing": missing}

    def close(self) -> None:
        """Sessions at vCenters end."""
        with self._lock:
            connections, self._connections = self._connections, None
        if connections is not None:
            connections.close()


def _images(name: str, settings: str, clock: Waiting) -> Hypervisor:
    """`settings` is {"directory": "/path"}."""
    try:
        directory = json.loads(settings)["directory"]
    except (ValueError, KeyError, TypeError) as error:
        raise HypervisorUnknown(f"hypervisor {name}: expected settings with a directory, found {settings!r}") from error
    if not isinstance(directory, str) or not directory.startswith("/"):
        raise HypervisorUnknown(f"hypervisor {name}: expected an absolute directory, found {directory!r}")
    return ImagesHypervisor(name, Path(directory), clock)
