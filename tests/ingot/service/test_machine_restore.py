"""What `ingot machine restore` asks for."""

from __future__ import annotations

import pytest

from ingot.cli.service.machine_restore import _map, _target
from ingot.faults import UsageWrong


def test_a_map_says_where_each_goes_and_where_all_others() -> None:
    assert _map("--datastore", ["fast=nvme", "spare", "old=nvme"]) == {"fast": "nvme", "": "spare", "old": "nvme"}
    assert _map("--network", None) == {}
    assert _map("--network", ["VM Network=a=b"]) == {"VM Network": "a=b"}


def test_a_policy_may_be_mapped_to_none() -> None:
    asked = ["Gold=Silver", "Bronze=", "="]
    assert _map("--policy", asked, may_be_empty=True) == {"Gold": "Silver", "Bronze": "", "": ""}
    with pytest.raises(UsageWrong, match="--policy"):
        _map("--policy", [""], may_be_empty=True)


@pytest.mark.parametrize("given", [["fast="], [""], ["a", "b"], ["fast=x", "fast=y"]])
def test_a_map_that_is_none_is_refused(given: list[str]) -> None:
    with pytest.raises(UsageWrong, match="--datastore"):
        _map("--datastore", given)


def test_there_is_one_way_to_bring_a_machine_back_at_a_time() -> None:
    assert _target("/srv/restored", None, False, None) == (None, None)
    assert _target(None, "vc1", False, None) == ("vc1", "new")
    assert _target(None, None, True, None) == (None, "in_place")
    assert _target(None, "vc2", True, None) == ("vc2", "in_place")
    assert _target(None, None, False, "db1") == (None, "attach")
    for wrong in ((None, None, False, None), ("/srv", "vc1", False, None), (None, None, True, "db1")):
        with pytest.raises(UsageWrong, match="expected one of --to"):
            _target(*wrong)
