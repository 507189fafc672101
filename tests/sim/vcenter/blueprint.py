"""What a machine is made of when somebody adds one, and what machines of one blueprint have alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol
from xml.sax.saxutils import escape

from pyVmomi import vim

from tests.sim.vcenter.configuration import config_summary, new_config
from tests.sim.vcenter.hardware import basic_devices, disk_device, flat_backing, network_backing, nic_device
from tests.sim.vcenter.inventory import Datastore
from tests.sim.vcenter.objects import along
from tests.sim.vcenter.selection import write_property


@dataclass
class Blueprint:
    """What a machine is made of when somebody adds one from Python or the command line."""

    name: str
    disks: list[int]  # sizes in bytes
    datastore: Datastore
    networks: list[Any]
    guest_id: str = "debian12_64Guest"
    firmware: str = "bios"
    cpus: int = 2
    memory_mb: int = 4096
    powered_on: bool = True
    change_tracking: bool = False
    template: bool = False
    thin: bool = True
    annotation: str = ""
    extra_config: dict[str, str] = field(default_factory=dict)
    identity: str = ""  # what uuids and MACs are derived from; the id of the machine where empty

    @cached_property
    def shape(self) -> str:
        """The same for all that differ in names and identities only."""
        networks = [each.moid for each in self.networks]
        own = {"name": "", "identity": "", "datastore": self.datastore.name, "networks": networks}
        return repr({**vars(self), **own})


class Identity(Protocol):
    """What no two machines share."""

    def uuid_of(self, what: str) -> str:
        """Of the machine (`bios`, `instance`) or of a disk (`disk 0`)."""

    def mac_of(self, number: int) -> str:
        """Of a network card."""

    def content_of(self, number: int) -> str:
        """The content id of a disk."""


def disk_name(name: str, number: int) -> str:
    """The vmdk of a new machine's disk."""
    return f"{name}/{name}{f'_{number}' if number else ''}.vmdk"


def configuration_of(vcenter: Any, plan: Blueprint, name: str, identity: Identity) -> Any:
    """The ConfigInfo of a machine that nothing happened to yet."""
    config = new_config(vcenter, name, f"[{plan.datastore.name}] {name}/", plan.guest_id)
    config.uuid, config.instanceUuid = identity.uuid_of("bios"), identity.uuid_of("instance")
    config.template, config.firmware = plan.template, plan.firmware
    config.changeTrackingEnabled = plan.change_tracking
    config.annotation = plan.annotation
    config.hardware.numCPU, config.hardware.memoryMB = plan.cpus, plan.memory_mb
    config.extraConfig = [
        vim.option.OptionValue(key="nvram", value=f"{name}.nvram"),
        vim.option.OptionValue(key="svga.present", value="TRUE"),
        *(vim.option.OptionValue(key=key, value=value) for key, value in plan.extra_config.items()),
    ]
    devices = basic_devices(disks=len(plan.disks))
    for number, size in enumerate(plan.disks):
        file_name = f"[{plan.datastore.name}] {disk_name(name, number)}"
        backing = flat_backing(file_name, identity.uuid_of(f"disk {number}"), thin=plan.thin)
        backing.datastore = plan.datastore.ref
        backing.contentId = identity.content_of(number)
        unit = number % 15
        devices.append(disk_device(2000 + number, 1000 + number // 15, unit + (unit > 6), backing, size))
    for number, network in enumerate(plan.networks):
        card = nic_device(4000 + number, identity.mac_of(number), network_backing(network), network.name)
        devices.append(card)
    config.hardware.device = devices
    return config


class _Places:
    """An identity of marks, for something else to be put in their places."""

    def __init__(self) -> None:
        self.asked: dict[str, tuple[str, Any]] = {}

    def uuid_of(self, what: str) -> str:
        return self._mark("uuid_of", what)

    def mac_of(self, number: int) -> str:
        return self._mark("mac_of", number)

    def content_of(self, number: int) -> str:
        return self._mark("content_of", number)

    def _mark(self, kind: str, what: Any) -> str:
        mark = f"@{kind} {what}@"
        self.asked[mark] = kind, what
        return mark


_NAME = "@name@"
LIKE_PATHS = ("config.", "summary.config.")


def _root(config: Any, path: str) -> Any:
    return config_summary(config, _NAME) if path.startswith("summary.") else config


class Likenesses:
    """Properties of machines as text that is made once for a blueprint; each machine's own is put in its places."""

    def __init__(self, vcenter: Any) -> None:
        self._vcenter = vcenter
        self._configs: dict[str, tuple[Any, _Places]] = {}
        self._texts: dict[tuple[str, str], tuple[str | None, list[str]]] = {}

    def text(self, plan: Blueprint, path: str, name: str, identity: Identity) -> tuple[bool, str | None]:
        """Whether there is one, and what it is."""
        shape = plan.shape
        if shape not in self._configs:
            places = _Places()
            self._configs[shape] = configuration_of(self._vcenter, plan, _NAME, places), places
        config, places = self._configs[shape]
        if (shape, path) not in self._texts:
            value = along(_root(config, path), path.removeprefix("summary.").partition(".")[2], path)
            text = write_property(vim.VirtualMachine, path, value)
            marks = [each for each in (_NAME, *places.asked) if text is not None and each in text]
            self._texts[shape, path] = text, marks
        text, marks = self._texts[shape, path]
        if text is not None:
            for mark in marks:
                own = escape(name) if mark == _NAME else getattr(identity, places.asked[mark][0])(places.asked[mark][1])
                text = text.replace(mark, own)
        return True, text
