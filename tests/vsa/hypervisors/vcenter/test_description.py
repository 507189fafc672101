"""What is kept of a machine, told by a vCenter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyVmomi import vim

from runtime.clock import SystemClock
from tests.sim.vcenter.vcenter import Vcenter
from vsa.faults import DescriptionInvalid
from vsa.hypervisors.vcenter.connection import Connection
from vsa.hypervisors.vcenter.description import describe, read_saved
from vsa.hypervisors.vcenter.devices import disk_key
from vsa.hypervisors.vcenter.trust import Trust


@pytest.fixture(scope="module")
def vcenter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vcenter]:
    with Vcenter(tmp_path_factory.mktemp("vcenter")) as vcenter:
        yield vcenter


@pytest.fixture(scope="module")
def connection(vcenter: Vcenter) -> Iterator[Connection]:
    trust = Trust(authority=Path(vcenter.certificate).read_text())
    with Connection(vcenter.address, vcenter.user, vcenter.password, trust, SystemClock()) as connection:
        yield connection


def test_a_machine_is_described_so_that_it_can_be_made_again(vcenter: Vcenter, connection: Connection) -> None:
    made = vcenter.add_machine("web1", [1 << 20, 2 << 20], networks=["VM Network", "DPG-10"])
    machine = vim.VirtualMachine(made.moid, connection.stub)
    config = connection.properties(machine, "config")["config"]
    keys = [disk_key(each) for each in config.hardware.device if isinstance(each, vim.vm.device.VirtualDisk)]
    warnings: list[str] = []

    description = json.loads(json.dumps(describe(connection, machine, config, frozenset(keys), warnings.append)))
    saved = read_saved(description)

    assert description["machine"]["folder"] == ""
    assert description["machine"]["datacenter"] == "DC1"
    assert description["machine"]["pool"] == "Cluster1"
    assert [each["network"] for each in description["networks"]] == ["VM Network", "DPG-10"]
    assert [each["kind"] for each in description["networks"]] == ["standard", "distributed"]
    assert [(each["key"], each["size"], each["protected"]) for each in description["disks"]] == [
        (keys[0], 1 << 20, True),
        (keys[1], 2 << 20, True),
    ]
    assert repr(saved.config) == repr(config)
    assert [line for line in warnings if "not kept" not in line] == []


def test_a_disk_that_is_not_protected_is_told_of(vcenter: Vcenter, connection: Connection) -> None:
    made = vcenter.add_machine("web2", [1 << 20, 2 << 20])
    machine = vim.VirtualMachine(made.moid, connection.stub)
    config = connection.properties(machine, "config")["config"]
    first = next(each for each in config.hardware.device if isinstance(each, vim.vm.device.VirtualDisk))
    warnings: list[str] = []

    describe(connection, machine, config, frozenset({disk_key(first)}), warnings.append)

    assert any("Hard disk 2" in line for line in warnings)


@pytest.mark.parametrize("description", [{}, {"source": "images"}, {"source": "vcenter", "machine": {}}])
def test_what_is_no_description_of_a_vcenters_machine_is_refused(description: dict[str, object]) -> None:
    with pytest.raises(DescriptionInvalid):
        read_saved(description)
