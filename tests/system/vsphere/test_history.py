"""A machine of a vCenter through everything that happens to machines: every point is what its snapshot was."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.vsphere.happenings import expire_sessions, move_host, move_storage, revert
from tests.system.vsphere.office import MIB, Office, office, scribble
from vsa.hypervisors.known import Known

_RUNS = 20


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Office]:
    with office(tmp_path) as opened:
        yield opened


def test_a_full_backup_and_twenty_incrementals_are_what_their_snapshots_were(there: Office) -> None:
    rng = random.Random(5)
    web = there.vcenter.add_machine("web", [24 * MIB, 9 * MIB + 512], change_tracking=True)
    scribble(rng, web, 20)
    there.back_up(web)
    happenings: dict[int, Callable[[], None]] = {
        2: lambda: move_storage(there.vcenter, web),
        4: lambda: web.resize(1, 13 * MIB),
        6: web.power_loss,
        8: lambda: revert(web),
        10: web.reset_tracking,
        12: lambda: expire_sessions(there.vcenter),
        16: lambda: move_host(there.vcenter, web),
        18: web.power_off,
    }
    for number in range(1, _RUNS + 1):
        scribble(rng, web, 6)
        happenings.get(number, lambda: None)()
        during = (lambda: expire_sessions(there.vcenter)) if number == 13 else (lambda: scribble(rng, web, 3))
        there.back_up(web, meanwhile=during)
        assert web.snapshots == []
        there.clock.days += 1
    there.assert_all_restore()
    read = [[disk["read"] for disk in moment.result["disks"]] for moment in there.moments]
    whole = {number for number, kinds in enumerate(read) if kinds[0] == "full"}
    assert {0, 6, 8, 10} <= whole
    assert read[4] == ["incremental", "full"], "a resized disk is read whole, the others are not"
    assert len(whole) <= 6
    assert not any(moment.result["disks"][0].get("proof", {}).get("wrong_cells") for moment in there.moments)


def test_more_changes_than_one_answer_holds_are_all_backed_up(there: Office) -> None:
    web = there.vcenter.add_machine("web", [272 * MIB], change_tracking=True)
    there.back_up(web)
    for number in range(2100):
        web.guest_write(0, number * 131072, b"%d" % number)
    [disk] = there.back_up(web).result["disks"]
    assert (disk["read"], disk["changed_areas"]) == ("incremental", 2100)
    there.assert_all_restore()


def test_a_snapshot_of_a_lease_that_may_go_on_is_not_removed_under_it(there: Office) -> None:
    rng = random.Random(7)
    web = there.vcenter.add_machine("web", [12 * MIB], change_tracking=True)
    web.guest_write(0, 0, rng.randbytes(10 * MIB))
    known = Known(there.clock, lambda _sealed, _owner: there.vcenter.password.encode())
    after = Office(there.vcenter, there.served, known, there.clock, fence=100)

    def overtaken() -> None:
        [of_the_zombie] = web.snapshots
        scribble(rng, web, 5)
        after.back_up(web)
        assert web.snapshots == [of_the_zombie]
        scribble(rng, web, 5)

    there.back_up(web, meanwhile=overtaken)
    known.close()
    there.assert_all_restore()
    after.assert_all_restore()
    assert web.snapshots == []
