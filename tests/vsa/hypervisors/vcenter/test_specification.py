"""A saved config as what makes the machine again."""

from __future__ import annotations

from typing import Any

from pyVmomi import vim

from tests.vsa.hypervisors.vcenter.configs import card, config, device, disk
from vsa.hypervisors.vcenter.devices import Placing
from vsa.hypervisors.vcenter.specification import MARK, late, specify, would_not_come_back

BOTH = frozenset({"uuid-0", "uuid-1"})


def placing(**members: Any) -> Placing:
    """Everything into `big` and `Lab`."""
    given = {
        "datastore": lambda name: {"fast": "big"}[name],
        "network": lambda key: device.VirtualEthernetCard.NetworkBackingInfo(deviceName="Lab"),
        "disks": BOTH,
        **members,
    }
    return Placing(**given)


def added(spec: Any) -> list[Any]:
    return [change.device for change in spec.deviceChange]


def test_controllers_come_first_and_disks_last_with_negative_keys() -> None:
    spec = specify(config(cards=2), "web1", placing()).first

    kinds = [type(each).__name__.rpartition(".")[2] for each in added(spec)]
    assert kinds == ["ParaVirtualSCSIController", "VirtualVmxnet3", "VirtualVmxnet3", "VirtualDisk", "VirtualDisk"]
    assert all(each.key < 0 for each in added(spec))
    assert {each.controllerKey for each in added(spec) if isinstance(each, device.VirtualDisk)} == {-1000}


def test_disks_get_new_files_on_the_datastore_that_the_map_names() -> None:
    spec = specify(config(), "web1", placing()).first
    disks = [change for change in spec.deviceChange if isinstance(change.device, device.VirtualDisk)]

    assert [change.fileOperation for change in disks] == ["create", "create"]
    assert {change.device.backing.fileName for change in disks} == {"[big]"}
    assert [change.device.capacityInBytes for change in disks] == [1 << 20, 2 << 20]
    assert [change.device.backing.uuid for change in disks] == [None, None]


def test_disks_are_thin_as_they_were_unless_somebody_says_otherwise() -> None:
    was = config(disks=0)
    was.hardware.device += [disk(0, thinProvisioned=True), disk(1, thinProvisioned=False, eagerlyScrub=True)]

    def backings(thin: bool | None) -> list[tuple[bool, bool]]:
        devices = added(specify(was, "web1", placing(thin=thin)).first)
        return [
            (d.backing.thinProvisioned, d.backing.eagerlyScrub) for d in devices if isinstance(d, device.VirtualDisk)
        ]

    assert backings(None) == [(True, False), (False, True)]
    assert backings(True) == [(True, False), (True, False)]
    assert backings(False) == [(False, False), (False, True)]


def test_a_copy_gets_a_new_identity_and_one_that_keeps_it_does_not() -> None:
    was = config()

    copy = specify(was, "web1", placing()).first
    kept = specify(was, "web1", placing(keep_macs=True), keep_identity=True).first

    cards = [next(each for each in added(spec) if isinstance(each, device.VirtualVmxnet3)) for spec in (copy, kept)]
    assert [copy.uuid, copy.instanceUuid] == [None, None]
    assert [kept.uuid, kept.instanceUuid] == [was.uuid, was.instanceUuid]
    assert [(each.addressType, each.macAddress) for each in cards] == [
        ("generated", None),
        ("manual", "00:50:56:aa:bb:00"),
    ]


def test_cards_keep_their_slot_because_guests_name_them_by_it() -> None:
    spec = specify(config(), "web1", placing()).first

    assert [each.slotInfo.pciSlotNumber for each in added(spec) if isinstance(each, device.VirtualVmxnet3)] == [192]


def test_settings_come_back_and_what_vsphere_keeps_for_itself_does_not() -> None:
    spec = specify(config(), "web2", placing(), mark="job-1").first

    assert (spec.name, spec.numCPUs, spec.numCoresPerSocket, spec.memoryMB) == ("web2", 4, 2, 2048)
    assert (spec.firmware, spec.version, spec.annotation) == ("efi", "vmx-19", "the shop")
    assert spec.bootOptions.efiSecureBootEnabled
    assert not spec.bootOptions.bootOrder
    assert spec.flags.diskUuidEnabled
    assert spec.flags.monitorType is None
    assert {each.key: each.value for each in spec.extraConfig} == {"guestinfo.role": "shop", MARK: "job-1"}


def test_late_settings_name_the_devices_by_the_keys_that_vsphere_gave_them() -> None:
    was, made = config(), config()
    for each in made.hardware.device:
        each.key += 7
        if each.controllerKey is not None:
            each.controllerKey += 7

    spec = late(was, made)

    assert [getattr(each, "deviceKey", None) for each in spec.bootOptions.bootOrder] == [2007, 4007]
    assert [(change.operation, change.device.key) for change in spec.deviceChange] == [("edit", 507)]
    assert spec.deviceChange[0].device.numDisplays == 2
    assert [(each.key, each.value) for each in spec.extraConfig] == [(MARK, "")]


def test_what_would_not_come_back_is_told_and_the_rest_is_not() -> None:
    assert would_not_come_back(config(), BOTH) == []
    iso = device.VirtualCdrom.IsoBackingInfo(fileName="[iso] setup.iso")
    odd = config(
        device.VirtualTPM(key=11000, deviceInfo=vim.Description(label="TPM", summary="")),
        device.VirtualCdrom(
            key=3000,
            controllerKey=200,
            unitNumber=0,
            backing=iso,
            deviceInfo=vim.Description(label="CD/DVD drive 1", summary=""),
        ),
        device.VirtualSriovEthernetCard(key=4009, deviceInfo=vim.Description(label="Network adapter 9", summary="")),
        ftInfo=vim.vm.FaultTolerancePrimaryConfigInfo(role=1),
        template=True,
    )

    lost = would_not_come_back(odd, frozenset({"uuid-0"}))

    told = "\n".join(lost)
    assert len(lost) == 6
    for part in ("TPM", "setup.iso", "Network adapter 9", "Hard disk 2", "fault tolerance", "template"):
        assert part in told


def test_a_card_without_a_network_here_is_left_out_and_told() -> None:
    was = config(cards=0)
    was.hardware.device += [card(0), card(1)]
    only_first = placing(
        network=lambda key: device.VirtualEthernetCard.NetworkBackingInfo(deviceName="Lab") if key == 4000 else None
    )

    made = specify(was, "web1", only_first)

    assert len([each for each in added(made.first) if isinstance(each, device.VirtualVmxnet3)]) == 1
    assert any("Network adapter 2" in line for line in made.lost)
