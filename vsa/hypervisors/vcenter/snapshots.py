"""Our snapshots of a machine: made as still as the plan asks for, marked, and removed.

    application  the guest's programs are told (VSS on Windows, as a copy that truncates no logs)
    filesystem   the guest's file systems are flushed
    crash        nothing is told: as after a power cut

A guest that is not Windows knows no application level by itself: its freeze scripts run at both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

from runtime.faults import Fault
from runtime.logs import log
from vsa.faults import HypervisorBusy, HypervisorFailed, ObjectMissing, SnapshotFailed
from vsa.hypervisors import Purpose, QuiesceLevel
from vsa.hypervisors.vcenter.connection import Connection
from vsa.hypervisors.vcenter.marks import NAME, Mark, mark_of, snapshots_of
from vsa.hypervisors.vcenter.tasks import go_on

_CONSOLIDATION_PAUSES = (0.2, 2.0, 5.0)  # seconds
_TRIES = 3
_PAUSE_SECONDS = 5.0
_QUIESCE_MINUTES = 10  # that a guest may take
_VSS_COPY = 5  # VSS_BT_COPY
_LEVELS: tuple[QuiesceLevel, ...] = ("application", "filesystem", "crash")


@dataclass(frozen=True)
class Taken:
    """A snapshot of ours. `level` is what was achieved; "off" for a machine that does not run."""

    snapshot: Any
    level: str
    seconds: float  # that making it took; the machine stood still for a part of them, which the API does not tell


class Snapshots:
    """Of one machine, for one purpose."""

    def __init__(self, connection: Connection, machine: Any, why: Purpose) -> None:
        self._connection = connection
        self._machine = machine
        self._why = why
        self._mark = Mark(why.site, why.job, why.fence)

    def take(self, runtime: Any, guest: Any) -> Taken:
        """Make one, at the level that the plan wants or at a lower one where it lets us.

        Raises SnapshotFailed, DatastoreFull, PrivilegeMissing, and what the purpose's check does.
        """
        clock = self._why.clock
        began = clock.monotonic_seconds()
        if runtime.powerState != "poweredOn":
            return Taken(self._make(None), "off", clock.monotonic_seconds() - began)
        wanted = self._why.wish.quiesce
        for level in _LEVELS[_LEVELS.index(wanted) :]:
            try:
                snapshot = self._make(_spec(level, guest), guest)
                achieved = level if level != "application" or _is_windows(guest) else "filesystem"
                return Taken(snapshot, achieved, clock.monotonic_seconds() - began)
            except SnapshotFailed as fault:
                if level == "crash" or not self._why.wish.fall_back:
                    raise
                self._why.warn(f"not held still as an {level} copy: {fault}")
        raise AssertionError("crash is the last level, and returns or raises")

    def _make(self, spec: Any, guest: Any = None) -> Any:
        """Three tries, five seconds apart. What a failed one left behind is removed before the next."""
        if spec is not None and guest.toolsRunningStatus != "guestToolsRunning":
            raise SnapshotFailed("the guest's tools do not run, so nobody there can be asked")
        for left in reversed(range(_TRIES)):
            try:
                return self._make_once(spec)
            except (HypervisorFailed, HypervisorBusy) as fault:
                if not left:
                    raise SnapshotFailed(f"no snapshot after {_TRIES} tries: {fault}") from fault
                log().info("snapshot failed", message=str(fault))
            self._why.clock.sleep(_PAUSE_SECONDS)
            self._why.check()
        raise AssertionError("the last try returns or raises")

    def _make_once(self, spec: Any) -> Any:
        tasks = self._connection.tasks
        try:
            arguments = (NAME, str(self._mark), False, spec)
            return tasks.run(self._machine, self._machine.CreateSnapshotEx_Task, *arguments, check=self._why.check)
        except BaseException:
            self._remove_those_of(self._mark)
            raise

    def _remove_those_of(self, mark: Mark) -> None:
        """Whatever carries this mark. A failure is logged: whoever comes next finds it."""
        try:
            for node in self._nodes():
                if mark_of(node.description) == mark:
                    self.remove(node.snapshot)
        except Fault as fault:
            log().warning("snapshot not removed", code=fault.code, message=str(fault))

    def remove_orphans(self, waiting: Callable[[], None] = go_on) -> int:
        """Remove what leases of this site left that are over for certain; how many snapshots.

        A lease of which nobody can say so keeps its snapshot: somebody may read it. A removal that fails is a warning.
        `waiting` is called while the vCenter works.
        """
        count = 0
        for node in self._nodes():
            mark = mark_of(node.description)
            if mark is None or mark.site != self._why.site or not self._is_over(mark):
                continue
            try:
                self.remove(node.snapshot, waiting)
                count += 1
            except Fault as fault:
                self._why.warn(f"a snapshot of job {mark.job}, lease {mark.fence}, could not be removed: {fault}")
        return count

    def somebody_reads(self) -> bool:
        """Whether a snapshot of this site is there whose lease is not over for certain."""
        marks = [mark_of(node.description) for node in self._nodes()]
        ours = [mark for mark in marks if mark is not None and mark.site == self._why.site]
        return any(not self._is_over(mark) for mark in ours)

    def consolidate(self, waiting: Callable[[], None] = go_on) -> bool:
        """Some tries, because a host takes a moment to let go of disks that were read. What fails is a warning."""
        for pause in (*_CONSOLIDATION_PAUSES, None):
            try:
                self._connection.tasks.run(self._machine, self._machine.ConsolidateVMDisks_Task, check=waiting)
                return True
            except Fault as fault:
                if pause is None:
                    self._why.warn(f"its disks need consolidation, which failed: {fault}")
                    return False
            self._connection.clock.sleep(pause)
        raise AssertionError("the last try returns")

    def _is_over(self, mark: Mark) -> bool:
        if mark == self._mark:
            return True
        try:
            return self._why.ended(mark.job, mark.fence)
        except Fault as fault:
            log().warning("lease not asked after", job=mark.job, code=fault.code, message=str(fault))
            return False

    def remove(self, snapshot: Any, waiting: Callable[[], None] = go_on) -> None:
        """Three tries. Done when it is gone, whoever removed it. Raises what the last try did."""
        tasks = self._connection.tasks
        for left in reversed(range(_TRIES)):
            try:
                tasks.run(self._machine, snapshot.RemoveSnapshot_Task, False, True, check=waiting)
                return
            except ObjectMissing:
                return
            except (HypervisorFailed, HypervisorBusy):
                if not left:
                    raise
            self._why.clock.sleep(_PAUSE_SECONDS)

    def is_there(self, snapshot: Any) -> bool:
        """Whether the machine has it still."""
        return any(node.snapshot._moId == snapshot._moId for node in self._nodes())

    def _nodes(self) -> list[Any]:
        return list(snapshots_of(self._connection.properties(self._machine, "snapshot").get("snapshot")))


def _is_windows(guest: Any) -> bool:
    return bool(guest is not None and guest.guestFamily == "windowsGuest")


def _spec(level: QuiesceLevel, guest: Any) -> Any:
    if level == "crash":
        return None
    if not _is_windows(guest):
        return vim.vm.GuestQuiesceSpec(timeout=_QUIESCE_MINUTES)
    return vim.vm.WindowsQuiesceSpec(
        timeout=_QUIESCE_MINUTES,
        vssBackupType=_VSS_COPY,
        vssBackupContext="ctx_backup" if level == "application" else "ctx_file_share_backup",
        vssBootableSystemState=False,
        vssPartialFileSupport=False,
    )
