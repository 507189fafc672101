"""Snapshots of a disk against an oracle that keeps every state whole."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sim.vcenter.extents import Extents
from tests.sim.vcenter.sim_machine import SimMachine
from tests.sim.vcenter.snapshots import Snapshot, revert
from tests.sim.vcenter.vcenter import Vcenter

SIZE = 4096
WRITE = st.tuples(st.just("write"), st.integers(0, SIZE - 1), st.binary(min_size=1, max_size=300))
STEP = st.one_of(
    WRITE,
    WRITE,
    st.tuples(st.just("snapshot"), st.just(0), st.just(b"")),
    st.tuples(st.just("remove"), st.integers(0, 9), st.just(b"")),
    st.tuples(st.just("revert"), st.integers(0, 9), st.just(b"")),
)


@settings(max_examples=150)
@given(st.lists(STEP, max_size=25))
def test_every_snapshot_shows_what_the_disk_was(steps: list[tuple[str, int, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        vcenter = Vcenter(Path(directory))
        try:
            _play(vcenter.add_machine("web", [SIZE], change_tracking=True), steps)
        finally:
            vcenter.close()


def _play(machine: SimMachine, steps: list[tuple[str, int, bytes]]) -> None:
    live = bytearray(SIZE)
    states: dict[Snapshot, bytes] = {}
    told: dict[str, bytes] = {}  # by change id: what the disk was then
    for what, number, data in steps:
        snapshots = machine.snapshots
        if what == "write":
            piece = data[: SIZE - number]
            machine.guest_write(0, number, piece)
            live[number : number + len(piece)] = piece
        elif what == "snapshot":
            taken = machine.take_snapshot()
            states[taken] = bytes(live)
            told[taken.change_ids[2000] or ""] = bytes(live)
            _compare_changes(machine, taken, bytes(live), told)
        elif snapshots:
            chosen = snapshots[number % len(snapshots)]
            if what == "remove":
                machine.remove_snapshot(chosen)
            else:
                revert(chosen)
                live[:] = states[chosen]
        assert machine.disk_bytes(0) == bytes(live)
        for snapshot in machine.snapshots:
            assert machine.disk_bytes(0, snapshot) == states[snapshot]
    before = machine.digest(0)
    for snapshot in machine.snapshots:
        machine.remove_snapshot(snapshot)
    assert machine.disk_bytes(0) == bytes(live)
    assert machine.digest(0) == before
    assert len(machine.disk(0).layers) == 1
    assert len(list(machine.disk(0).layers[0].path.parent.glob("*.vmdk"))) <= 1


def _compare_changes(machine: SimMachine, taken: Snapshot, now: bytes, told: dict[str, bytes]) -> None:
    """Whatever differs from a state since which tracking went on is in a changed area."""
    tracking = machine.disk(0).tracking
    until = taken.change_ids[2000] or ""
    for since, before in told.items():
        if since.rpartition("/")[0] == until.rpartition("/")[0]:
            changed = tracking.changed(since, until, SIZE)
            differing = {at for at in range(SIZE) if before[at] != now[at]}
            assert differing <= {at for first, end in changed for at in range(first, end)}


RANGE = st.tuples(st.integers(0, 60), st.integers(0, 60))


@given(st.lists(RANGE), RANGE)
def test_extents_are_the_set_of_their_bytes(ranges: list[tuple[int, int]], window: tuple[int, int]) -> None:
    extents = Extents(ranges)
    plain = {at for first, end in ranges for at in range(first, end)}
    assert {at for first, end in extents for at in range(first, end)} == plain
    assert extents.bytes() == len(plain)
    assert all(end < first for (_, end), (first, _) in zip(list(extents), list(extents)[1:], strict=False))
    asked = set(range(*window))
    assert {at for first, end in extents.within(*window) for at in range(first, end)} == plain & asked
    assert {at for first, end in extents.gaps(*window) for at in range(first, end)} == asked - plain
