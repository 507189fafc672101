"""How much at once: each host, each datastore, each machine once."""

from __future__ import annotations

import threading

import pytest

from vsa.hypervisors.vcenter.limits import Limits, Most


class GaveUp(Exception):
    """Nobody wants to wait."""


def give_up() -> None:
    raise GaveUp


def never() -> None:
    """Go on waiting."""


@pytest.mark.parametrize(
    ("most", "second"),
    [
        (Most(per_host=1), ("b", "h1", frozenset({"d2"}))),
        (Most(per_datastore=1), ("b", "h2", frozenset({"d1", "d2"}))),
        (Most(per_vcenter=1), ("b", "h2", frozenset({"d2"}))),
        (Most(), ("a", "h2", frozenset({"d2"}))),
    ],
)
def test_a_machine_waits_for_what_another_one_has(most: Most, second: tuple[str, str, frozenset[str]]) -> None:
    limits = Limits(most)
    with limits.machine("a", "h1", frozenset({"d1"}), never):
        with pytest.raises(GaveUp), limits.machine(*second, give_up):
            pass
        with Limits(most).machine(*second, give_up):
            pass
    with limits.machine(*second, give_up):
        pass


def test_whoever_waits_goes_on_when_there_is_room() -> None:
    limits, began = Limits(Most(per_host=1)), threading.Event()

    def wait() -> None:
        with limits.machine("b", "h", frozenset(), never):
            began.set()

    thread = threading.Thread(target=wait)
    with limits.machine("a", "h", frozenset(), never):
        thread.start()
        assert not began.is_set()
    thread.join()
    assert began.is_set()


def test_a_host_serves_so_many_disks_and_a_machine_with_more_has_it_alone() -> None:
    limits = Limits(Most(disks_per_host=3))
    with limits.disks("h", 2, never):
        with pytest.raises(GaveUp), limits.disks("h", 2, give_up):
            pass
        with limits.disks("h", 1, give_up), limits.disks("other", 3, give_up):
            pass
    with limits.disks("h", 99, give_up):
        pass


def test_a_vcenter_lets_so_many_disks_through_whatever_their_hosts() -> None:
    limits = Limits(Most(disks=3))
    with limits.disks("h1", 2, never):
        with pytest.raises(GaveUp), limits.disks("h2", 2, give_up):
            pass
        with limits.disks("h2", 1, give_up):
            pass
    with limits.disks("h1", 99, give_up):
        pass
