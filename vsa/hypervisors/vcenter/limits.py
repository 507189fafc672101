"""How much at once one agent does to a vCenter, each of its hosts and each of its datastores.

What several agents do together the CommServe bounds, by the `concurrency` of a hypervisor.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Most:
    """Machines held on one datastore, on one host, in all; disks read from one host, in all. 0 is no limit."""

    per_vcenter: int = 0
    per_host: int = 8
    per_datastore: int = 8
    disks_per_host: int = 48  # a host has buffers of 48 MB for all its NFC connections
    disks: int = 52  # NFC connections through one vCenter


class Limits:
    """Threads share it; one for all jobs of an agent on a vCenter."""

    def __init__(self, most: Most) -> None:
        self._most = most
        self._taken: Counter[tuple[str, str]] = Counter()
        self._changed = threading.Condition()

    @contextmanager
    def machine(self, machine: str, host: str, datastores: frozenset[str], check: Callable[[], None]) -> Iterator[None]:
        """Around holding one machine, which is held once at a time. Waits for its turn.

        `check` raises when nobody wants to wait any more.
        """
        wanted = {("machine", machine): 1, ("vcenter", ""): 1, ("host", host): 1}
        wanted |= {("datastore", each): 1 for each in datastores}
        with self._all(wanted, check):
            yield

    @contextmanager
    def disks(self, host: str, count: int, check: Callable[[], None]) -> Iterator[None]:
        """Around reading so many disks from a host. What is more than is ever allowed goes alone."""
        wanted = {
            ("disks", host): min(count, self._most.disks_per_host or count),
            ("all_disks", ""): min(count, self._most.disks or count),
        }
        with self._all(wanted, check):
            yield

    @contextmanager
    def _all(self, wanted: Mapping[tuple[str, str], int], check: Callable[[], None]) -> Iterator[None]:
        """All or none at a time, so nobody waits while holding a part."""
        with self._changed:
            while not self._fits(wanted):
                self._changed.wait(_LOOK_SECONDS)
                check()
            self._taken.update(wanted)
        try:
            yield
        finally:
            with self._changed:
                self._taken.subtract(wanted)
                self._changed.notify_all()

    def _fits(self, wanted: Mapping[tuple[str, str], int]) -> bool:
        most = {
            "machine": 1,
            "vcenter": self._most.per_vcenter,
            "host": self._most.per_host,
            "datastore": self._most.per_datastore,
            "disks": self._most.disks_per_host,
            "all_disks": self._most.disks,
        }
        return all(not most[key[0]] or self._taken[key] + count <= most[key[0]] for key, count in wanted.items())
