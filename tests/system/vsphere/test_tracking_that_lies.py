"""Known bugs of change tracking, simulated: proof finds them within the runs it promises, and points are marked."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from media.ids import sid_text
from media.marks import MarkKind, read_marks
from media.proof import CELLS_IN_SEGMENT, LEAST_CELLS
from media.recovery_point import list_points
from tests.sim.vcenter.sim_machine import SimMachine
from tests.system.vsphere.office import MIB, PARAMETERS, Office, office

CELL = PARAMETERS.segment_bytes // CELLS_IN_SEGMENT


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Office]:
    with office(tmp_path) as opened:
        yield opened


def runs_until_found(there: Office, web: SimMachine, days: float) -> int:
    """Back up, with so many days between, until proof finds something; how many runs that took."""
    cells = -(-web.disk(0).size // CELL)
    share = max(days / 30, LEAST_CELLS / cells)
    for number in range(1, int(1 / share) + 2):
        there.clock.days += days
        moment = there.back_up(web)
        if moment.result["disks"][0].get("proof", {}).get("wrong_cells"):
            return number
    raise AssertionError(f"not found in {number} runs, which went all round")


def assert_wrong_points_are_suspect(there: Office) -> None:
    pool = there.served.pool
    suspect = {
        sid_text(commit.sid)
        for commit in list_points(pool).commits
        if any(mark.kind is MarkKind.SUSPECT for mark in read_marks(pool, commit.sid))
    }
    wrong = {moment.point for moment in there.moments if there.restored(moment) != moment.digest_by_key}
    assert wrong, "the bug did harm"
    assert wrong <= suspect
    assert there.moments[0].point not in suspect, "it read the disk whole"
    assert there.moments[-1].point not in suspect


def test_changes_lost_at_consolidation_are_found(there: Office) -> None:
    rng = random.Random(1)
    web = there.vcenter.add_machine("web", [40 * MIB], change_tracking=True)
    web.guest_write(0, 0, rng.randbytes(30 * MIB))
    there.back_up(web)
    web.drop_changes_at_consolidation()
    lost = rng.randbytes(300_000)
    there.back_up(web, meanwhile=lambda: web.guest_write(0, 17 * MIB, lost))
    for _ in range(2):
        there.back_up(web, proof_days=0)  # trusted, so it goes on unnoticed
    before = web.disk(0).tracking.id
    runs_until_found(there, web, 3.0)
    assert web.disk(0).tracking.id != before, "it was made to begin anew"
    [warning] = [each for each in there.moments[-1].warnings if "change tracking" in each]
    assert "all of it was read; suspect are now" in warning
    assert_wrong_points_are_suspect(there)
    web.drop_changes_at_consolidation(drop=False)
    there.back_up(web)
    assert there.restored(there.moments[-1]) == there.moments[-1].digest_by_key


def test_changes_behind_a_boundary_that_a_resize_crossed_are_found(there: Office) -> None:
    rng = random.Random(2)
    web = there.vcenter.add_machine("web", [20 * MIB], change_tracking=True)
    web.guest_write(0, 0, rng.randbytes(20 * MIB))
    there.back_up(web)
    web.drop_changes_beyond(24 * MIB)
    web.resize(0, 36 * MIB)
    there.back_up(web)
    web.guest_write(0, 30 * MIB, rng.randbytes(100_000))
    web.guest_write(0, MIB, rng.randbytes(100_000))
    there.back_up(web, proof_days=0)
    runs_until_found(there, web, 5.0)
    assert_wrong_points_are_suspect(there)
