"""One connection to each vCenter, for all that the agent does there at once."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field

from runtime.clock import Waiting
from vsa.hypervisors.vcenter.connection import Connection
from vsa.hypervisors.vcenter.metrics import VcenterMetrics
from vsa.hypervisors.vcenter.settings import Settings


@dataclass
class _Place:
    lock: threading.Lock = field(default_factory=threading.Lock)
    made_of: bytes = b""
    connection: Connection | None = None


class Connections:
    """Of one process; safe to use from several threads."""

    def __init__(self, clock: Waiting, metrics: VcenterMetrics | None = None) -> None:
        self._clock = clock
        self._metrics = metrics or VcenterMetrics()
        self._places: dict[str, _Place] = {}
        self._lock = threading.Lock()

    def to(self, hypervisor_id: str, settings: Settings, password: str) -> Connection:
        """The one there is; a new one where there is none, or its settings or password changed.

        Raises HypervisorUnreachable, CertificateRefused, HypervisorRefused.
        """
        with self._lock:
            place = self._places.setdefault(hypervisor_id, _Place())
        told = repr((settings.address, settings.user, settings.trust, password))
        made_of = hashlib.sha256(told.encode()).digest()
        with place.lock:
            if place.connection is None or place.made_of != made_of:
                fresh = Connection(
                    settings.address, settings.user, password, settings.trust, self._clock, metrics=self._metrics
                )
                if place.connection is not None:
                    place.connection.retire()
                place.connection, place.made_of = fresh, made_of
            return place.connection

    def close(self) -> None:
        """All of them."""
        with self._lock:
            places, self._places = list(self._places.values()), {}
        for place in places:
            with place.lock:
                if place.connection is not None:
                    place.connection.close()
