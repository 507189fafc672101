"""What stands behind port 902: a disk opened by whoever is logged in, for the dummy nbdkit of this room.

Opening gives away where the layers lie, so bytes go straight from the files; the opened disk is closed with the
connection that opened it. While it is open its layers cannot be consolidated, as files are locked while a host serves
them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.sim.vcenter.disks import Disk, Layer
from tests.sim.vcenter.machine import Machine
from tests.sim.vcenter.snapshots import Snapshot

if TYPE_CHECKING:
    from tests.sim.vcenter.endpoint import Answering
    from tests.sim.vcenter.vcenter import Vcenter

READ = "VirtualMachine.Provisioning.DiskRandomRead"
WRITE = "VirtualMachine.Provisioning.DiskRandomAccess"
OPEN_MAX = 50  # disks of a host at once


class Refused(Exception):
    """A disk cannot be opened, in the words of the library."""


@dataclass
class Opened:
    """One open disk."""

    disk: Disk
    layers: list[Layer]
    host: str
    writes: bool

    def close(self) -> None:
        for layer in self.layers:
            layer.readers -= 1


class NbdRoom:
    """POST /sim/nbd/open, and POST /sim/nbd/written with ranges that were written."""

    def __init__(self, vcenter: Vcenter) -> None:
        self._vcenter = vcenter
        self.opened: list[Opened] = []

    def answer(self, ask: Answering, verb: str, path: str, query: dict[str, list[str]]) -> None:
        document = json.loads(ask.body() or b"{}")
        vcenter = self._vcenter
        vcenter.faults.meet("nbd." + path.rpartition("/")[2], document.get("vm", ""))
        with vcenter.changes.lock:
            try:
                if path == "/sim/nbd/open":
                    session = vcenter.sessions.find(ask.cookie())
                    if session is None:
                        raise Refused("The session is not authenticated")
                    answer = self._open(ask, session.user, document)
                else:
                    answer = self._written(ask, document)
            except Refused as refused:
                ask.answer(403, json.dumps({"error": str(refused)}).encode(), "application/json")
                return
        ask.answer(200, json.dumps(answer).encode(), "application/json")

    def _open(self, ask: Answering, user: str, document: dict[str, Any]) -> dict[str, Any]:
        vcenter = self._vcenter
        machine = vcenter.find(document["vm"])
        if not isinstance(machine, Machine):
            raise Refused(f"The virtual machine {document['vm']} cannot be found")
        writes = bool(document.get("writes"))
        if not vcenter.authorization.holds(user, WRITE if writes else READ, machine):
            raise Refused("Insufficient permissions in the host operating system")
        disk, layers = _find(vcenter, machine, document)
        if writes and (machine.power == "poweredOn" or document.get("snapshot")):
            raise Refused(f"Failed to lock the file: {document['file']}")
        on_host = sum(each.host == machine.host.moid for each in self.opened)
        if on_host >= OPEN_MAX:
            raise Refused("NBD_ERR_NETWORK_CONNECT: too many connections to the host")
        opened = Opened(disk, layers, machine.host.moid, writes)
        for layer in layers:
            layer.readers += 1
        self.opened.append(opened)
        ask.on_close(lambda: self._close(opened))
        if writes:
            layers[-1].make(disk.size)
        return {
            "size": _size(disk, document, vcenter),
            "layers": [
                {"path": str(layer.path), "base": layer.is_base, "held": [list(each) for each in layer.held]}
                for layer in layers
            ],
            "number": id(opened),
            "read_seconds": vcenter.faults.latency_by_method.get("nbd.read", 0.0),
        }

    def _written(self, ask: Answering, document: dict[str, Any]) -> dict[str, Any]:
        opened = next((each for each in self.opened if id(each) == document["number"]), None)
        if opened is None or not opened.writes:
            raise Refused("You do not have write access to this file")
        for first, end in document["ranges"]:
            if not opened.layers[-1].is_base:
                opened.layers[-1].held.add(first, end)
            opened.disk.tracking.note(first, end, opened.disk.size)
        return {}

    def _close(self, opened: Opened) -> None:
        with self._vcenter.changes.lock:
            if opened in self.opened:
                self.opened.remove(opened)
                opened.close()


def _find(vcenter: Vcenter, machine: Machine, document: dict[str, Any]) -> tuple[Disk, list[Layer]]:
    file = document["file"]
    chains: list[tuple[Disk, list[Layer]]]
    if document.get("snapshot"):
        snapshot = vcenter.find(document["snapshot"])
        if not isinstance(snapshot, Snapshot) or snapshot.machine is not machine:
            raise Refused(f"The snapshot {document['snapshot']} cannot be found")
        chains = [(machine.disks[key], layers) for key, layers in snapshot.layers.items() if key in machine.disks]
    else:
        chains = [(disk, disk.layers) for disk in machine.disks.values()]
    for disk, layers in chains:
        if layers[-1].file_name == file:
            return disk, list(layers)
    raise Refused(f"The system cannot find the file specified: {file}")


def _size(disk: Disk, document: dict[str, Any], vcenter: Vcenter) -> int:
    """Of the disk as it is shown."""
    snapshot = vcenter.find(document["snapshot"]) if document.get("snapshot") else None
    return snapshot.sizes[disk.key] if isinstance(snapshot, Snapshot) else disk.size
