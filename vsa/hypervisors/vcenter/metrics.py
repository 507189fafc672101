"""What is counted of vCenters; docs/metrics.md lists it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from runtime.faults import Fault

_LABEL = "address"


class VcenterMetrics:
    """One of a process; `of` a vCenter counts for it."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        to = registry or CollectorRegistry()
        self.calls = Histogram(
            "ingot_vcenter_call_seconds", "Calls of a vCenter.", [_LABEL], registry=to, buckets=(0.01, 0.1, 1, 10, 60)
        )
        self.faults = Counter(
            "ingot_vcenter_faults", "Calls that ended with a fault, by its code.", [_LABEL, "code"], registry=to
        )
        self.logins = Counter(
            "ingot_vcenter_logins_again", "Sessions that ended under us and were renewed.", [_LABEL], registry=to
        )
        self.machines = Gauge("ingot_vcenter_machines", "Machines of the last inventory.", [_LABEL], registry=to)
        self.snapshots = Histogram(
            "ingot_vcenter_snapshot_seconds",
            "Lives of our snapshots.",
            [_LABEL],
            registry=to,
            buckets=(60, 600, 3600, 6 * 3600, 24 * 3600),
        )
        self.creations = Histogram(
            "ingot_vcenter_snapshot_creation_seconds",
            "How long our snapshots took to be made: the guest stood still for a part of that.",
            [_LABEL],
            registry=to,
            buckets=(1, 2, 5, 10, 30, 60, 300),
        )
        self.left = Counter(
            "ingot_vcenter_snapshots_left", "Snapshots of ours that could not be removed.", [_LABEL], registry=to
        )
        self.orphans = Counter(
            "ingot_vcenter_orphans_removed", "Snapshots that leases left and others removed.", [_LABEL], registry=to
        )
        self.disks = Counter(
            "ingot_vcenter_disks_read",
            "Disks read, by how (full, incremental) and by which transport.",
            [_LABEL, "how", "transport"],
            registry=to,
        )
        self.wrong = Counter(
            "ingot_vcenter_tracking_wrong", "Disks whose change tracking was found wrong.", [_LABEL], registry=to
        )
        self.behind = Gauge(
            "ingot_vcenter_seconds_behind", "Age of the last news of the live inventory.", [_LABEL], registry=to
        )

    def of(self, address: str) -> Counts:
        """For one vCenter."""
        return Counts(self, address)


class Counts:
    """For one vCenter."""

    def __init__(self, metrics: VcenterMetrics, address: str) -> None:
        self._metrics = metrics
        self._address = address

    @contextmanager
    def counted(self) -> Iterator[None]:
        """One call."""
        with self._metrics.calls.labels(self._address).time():
            try:
                yield
            except Fault as fault:
                self._metrics.faults.labels(self._address, fault.code).inc()
                raise

    def logged_in_again(self) -> None:
        self._metrics.logins.labels(self._address).inc()

    def machines(self, count: int) -> None:
        """The last inventory has so many."""
        self._metrics.machines.labels(self._address).set(count)

    def snapshot_made(self, seconds: float) -> None:
        """One of ours, which took so long."""
        self._metrics.creations.labels(self._address).observe(seconds)

    def snapshot_ended(self, seconds: float, *, removed: bool) -> None:
        """One of ours, after so long."""
        self._metrics.snapshots.labels(self._address).observe(seconds)
        if not removed:
            self._metrics.left.labels(self._address).inc()

    def orphans_removed(self, count: int) -> None:
        self._metrics.orphans.labels(self._address).inc(count)

    def disk_read(self, how: str, transport: str) -> None:
        """Whole or only what changed."""
        self._metrics.disks.labels(self._address, how, transport).inc()

    def tracking_wrong(self) -> None:
        """Of a disk, found by reading what it called unchanged."""
        self._metrics.wrong.labels(self._address).inc()

    @contextmanager
    def behind(self, age_seconds: Callable[[], float]) -> Iterator[None]:
        """While the live inventory is followed, how long ago it last heard."""
        self._metrics.behind.labels(self._address).set_function(age_seconds)
        try:
            yield
        finally:
            self._metrics.behind.remove(self._address)
