"""Names of storage policies are kept of a machine where they can be read; where they cannot, that is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyVmomi import vim

from runtime.clock import SystemClock
from tests.sim.vcenter.vcenter import Vcenter
from vsa.faults import HypervisorFailed, PlaceMissing
from vsa.hypervisors.vcenter.connection import Connection
from vsa.hypervisors.vcenter.description import describe, read_saved
from vsa.hypervisors.vcenter.devices import disk_key
from vsa.hypervisors.vcenter.policies import Policies, read_policies
from vsa.hypervisors.vcenter.privileges import NEEDS
from vsa.hypervisors.vcenter.profiles import choose_profiles
from vsa.hypervisors.vcenter.trust import Trust


@pytest.fixture
def vcenter(tmp_path: Path) -> Iterator[Vcenter]:
    with Vcenter(tmp_path) as vcenter:
        vcenter.policies.add("Gold", "Silver")
        yield vcenter


def connected(vcenter: Vcenter, user: str = "", password: str = "") -> Connection:
    trust = Trust(Path(vcenter.certificate).read_text())
    return Connection(vcenter.address, user or vcenter.user, password or vcenter.password, trust, SystemClock())


def disks_of(connection: Connection, machine: Any) -> list[Any]:
    config = connection.properties(machine, "config")["config"]
    return [each for each in config.hardware.device if isinstance(each, vim.vm.device.VirtualDisk)]


def test_a_description_names_the_policies_of_home_and_disks(vcenter: Vcenter) -> None:
    made = vcenter.add_machine("web", [1 << 20, 1 << 20, 1 << 20])
    vcenter.policies.assign(made.machine, "Gold", {2001: "Silver"})
    warnings: list[str] = []
    with connected(vcenter) as connection:
        machine = vim.VirtualMachine(made.moid, connection.stub)
        config = connection.properties(machine, "config")["config"]
        keys = [disk_key(each) for each in disks_of(connection, machine)]
        description = describe(connection, machine, config, frozenset(keys), warnings.append)

    assert description["policies"] == {"home": "Gold", "disks": {keys[1]: "Silver"}, "unread": ""}
    assert read_saved(description).policies == Policies("Gold", {keys[1]: "Silver"})
    assert not [each for each in warnings if "polic" in each]
    del description["policies"]
    assert read_saved(description).policies == Policies()


def test_policies_are_read_when_the_session_had_run_out(vcenter: Vcenter) -> None:
    made = vcenter.add_machine("web", [1 << 20])
    vcenter.policies.assign(made.machine, "Gold")
    with connected(vcenter) as connection:
        machine = vim.VirtualMachine(made.moid, connection.stub)
        disks = disks_of(connection, machine)
        vcenter.expire_sessions()
        assert read_policies(connection, machine, disks) == Policies("Gold")


def test_policies_that_cannot_be_read_are_told_of_and_fail_nothing(vcenter: Vcenter) -> None:
    made = vcenter.add_machine("web", [1 << 20])
    vcenter.policies.assign(made.machine, "Gold")
    vcenter.add_user("backup@vsphere.local", "Secret-2", {each.privilege for each in NEEDS} - {"StorageProfile.View"})
    with connected(vcenter, "backup@vsphere.local", "Secret-2") as connection:
        machine = vim.VirtualMachine(made.moid, connection.stub)
        found = read_policies(connection, machine, disks_of(connection, machine))
        assert (found.home, dict(found.disks)) == ("", {})
        assert "StorageProfile.View" in found.unread
        with pytest.raises(PlaceMissing, match=r"'Gold' cannot be looked up; --policy = takes.*StorageProfile.View"):
            choose_profiles(connection, Policies("Gold"), {}, [])


def test_a_server_without_policies_is_told_of_and_fails_nothing(vcenter: Vcenter) -> None:
    made = vcenter.add_machine("web", [1 << 20])
    vcenter.policies.answers = False
    with connected(vcenter) as connection:
        machine = vim.VirtualMachine(made.moid, connection.stub)
        assert "404" in read_policies(connection, machine, disks_of(connection, machine)).unread


@pytest.mark.parametrize(
    ("asked", "home", "first", "second"),
    [
        ({}, "Gold", "Silver", ""),
        ({"Gold": "Silver"}, "Silver", "Silver", ""),
        ({"": "Gold"}, "Gold", "Gold", "Gold"),
        ({"Silver": ""}, "Gold", "", ""),
        ({"": ""}, "", "", ""),
        ({"Silver": "Gold", "": ""}, "", "Gold", ""),
    ],
)
def test_a_policy_is_of_the_same_name_or_as_somebody_says(
    vcenter: Vcenter, asked: dict[str, str], home: str, first: str, second: str
) -> None:
    with connected(vcenter) as connection:
        found = choose_profiles(connection, Policies("Gold", {"a": "Silver"}), asked, ["a", "b"])
    wanted = {"home": home, "a": first, "b": second}
    under = {"home": found.home, **found.disks}
    names = {key: vcenter.policies.name_by_id[each[0].profileId] for key, each in under.items() if each}
    assert names == {key: name for key, name in wanted.items() if name}


def test_a_disk_that_is_gone_by_then_is_told_of(vcenter: Vcenter) -> None:
    made = vcenter.add_machine("web", [1 << 20])
    with connected(vcenter) as connection:
        machine = vim.VirtualMachine(made.moid, connection.stub)
        ghost = vim.vm.device.VirtualDisk(key=2009, backing=vim.vm.device.VirtualDisk.FlatVer2BackingInfo(uuid="x"))
        assert f"{made.moid}:2009" in read_policies(connection, machine, [ghost]).unread


def test_a_policy_that_there_is_not_makes_no_machine(vcenter: Vcenter) -> None:
    made = vcenter.add_machine("web", [1 << 20])
    spec = vim.vm.ConfigSpec(vmProfile=[vim.vm.DefinedProfileSpec(profileId="none of ours")])
    with connected(vcenter) as connection:
        machine = vim.VirtualMachine(made.moid, connection.stub)
        with pytest.raises(HypervisorFailed, match="InvalidArgument"):
            connection.tasks.run(machine, machine.ReconfigVM_Task, spec)
