"""vSphere's data objects as JSON and back."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from pyVmomi import VmomiSupport, vim

from tests.vsa.hypervisors.vcenter.configs import config, device
from vsa.faults import DescriptionInvalid
from vsa.hypervisors.vcenter.objects import from_json, to_json


def through(value: object) -> object:
    """As it comes back from a recovery point."""
    return from_json(json.loads(json.dumps(to_json(value))))


def test_a_whole_config_comes_back_as_it_was() -> None:
    was = config(device.VirtualTPM(key=11000), device.VirtualCdrom(key=3000, controllerKey=200, unitNumber=0))

    came = through(was)

    assert repr(came) == repr(was)  # pyVmomi shows every member of every object


def test_members_keep_their_types() -> None:
    came = through(config())
    disk = next(each for each in came.hardware.device if isinstance(each, device.VirtualDisk))

    assert isinstance(disk.backing, device.VirtualDisk.FlatVer2BackingInfo)
    assert isinstance(disk.backing.datastore, vim.Datastore)
    assert disk.backing.datastore._GetMoId() == "datastore-1"
    assert isinstance(disk.capacityInBytes, VmomiSupport.long)
    assert came.modified == datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
    assert came.extraConfig[1].value == "shop"


def test_bytes_come_back() -> None:
    was = vim.vm.device.VirtualTPM(key=1, endorsementKeyCertificateSigningRequest=[VmomiSupport.binary(b"\x00\xff")])

    assert bytes(through(was).endorsementKeyCertificateSigningRequest[0]) == b"\x00\xff"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"_type": "vim.vm.Configuration"}, "vim.vm.Configuration"),
        ({"_type": "vim.vm.ConfigInfo", "colour": "red"}, "colour"),
        ({"name": "web1"}, "expected a type"),
        ({"_type": "vim.vm.ConfigInfo", "memoryHotAddEnabled": "perhaps so", "hardware": 5}, "config"),
    ],
)
def test_what_is_no_description_is_named(value: object, named: str) -> None:
    with pytest.raises(DescriptionInvalid, match=named):
        from_json(value)
