"""A real QEMU without a guest: its disk is written by us through one export, and backed up through another."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from runtime.clock import SystemClock
from tests.vsa.disks.qemu_images import qemu
from vsa.nbd.client import NbdClient, connect
from vsa.nbd.url import NbdUrl, parse_nbd_url

_WITHOUT_GUEST = ("qemu-system-x86_64", "-M", "none", "-nodefaults", "-display", "none", "-S", "-qmp", "stdio")


class Machine:
    """A QEMU that runs, its disk, and what is backed up of it. The guest is whoever writes to `guest`."""

    def __init__(self, directory: Path, size: int) -> None:
        self._directory = directory
        self._image = directory / "machine.qcow2"
        qemu("qemu-img", "create", "-q", "-f", "qcow2", self._image, str(size))
        disk = {"driver": "qcow2", "node-name": "disk", "file": {"driver": "file", "filename": str(self._image)}}
        self._process = subprocess.Popen(
            (*_WITHOUT_GUEST, "-blockdev", json.dumps(disk)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._events: list[dict[str, Any]] = []
        assert "QMP" in self._next()
        self.ask("qmp_capabilities")
        self.ask(
            "nbd-server-start", addr={"type": "unix", "data": {"path": f"{directory}/nbd"}}, **{"max-connections": 4}
        )
        self.ask("block-export-add", type="nbd", id="rw", **{"node-name": "disk"}, name="rw", writable=True)
        self.guest: NbdClient = connect(self.url("rw"), SystemClock())

    def url(self, export: str) -> NbdUrl:
        """Where an export of this machine is."""
        return parse_nbd_url(f"nbd+unix:///{export}?socket={self._directory}/nbd")

    def show(self, checkpoint: str, since: str | None) -> None:
        """Export the disk as it is now as `vda`, and begin a bitmap at this moment; `since` counts no further."""
        scratch = self._directory / f"{checkpoint}.qcow2"
        qemu("qemu-img", "create", "-q", "-f", "qcow2", "-b", self._image, "-F", "qcow2", "-u", scratch, str(self.size))
        file = {"driver": "file", "filename": str(scratch)}
        self.ask("blockdev-add", driver="qcow2", **{"node-name": "scratch"}, file=file, backing="disk")
        actions: list[dict[str, Any]] = [
            {"type": "block-dirty-bitmap-add", "data": {"node": "disk", "name": checkpoint}},
            {
                "type": "blockdev-backup",
                "data": {"job-id": "view", "device": "disk", "target": "scratch", "sync": "none"},
            },
        ]
        if since is not None:
            actions.append({"type": "block-dirty-bitmap-disable", "data": {"node": "disk", "name": since}})
        self.ask("transaction", actions=actions)
        bitmaps = [] if since is None else [since]
        self.ask("block-export-add", type="nbd", id="vda", **{"node-name": "scratch"}, name="vda", bitmaps=bitmaps)

    def hide(self) -> None:
        """End the view."""
        self.ask("block-export-del", id="vda", mode="hard")
        self._until("BLOCK_EXPORT_DELETED")
        self.ask("block-job-cancel", device="view")
        self._until("BLOCK_JOB_CANCELLED", "BLOCK_JOB_COMPLETED")
        self.ask("blockdev-del", **{"node-name": "scratch"})

    def forget(self, checkpoint: str) -> None:
        """Drop a bitmap."""
        self.ask("block-dirty-bitmap-remove", node="disk", name=checkpoint)

    @property
    def size(self) -> int:
        return self.guest.export.size

    def content(self) -> bytes:
        """What the guest sees now."""
        found = bytearray(self.size)
        self.guest.read_into(0, memoryview(found))
        return bytes(found)

    def ask(self, command: str, **arguments: Any) -> Any:
        """Have the machine do something, which must be good."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        self._process.stdin.flush()
        while True:
            said = self._next()
            if "event" in said:
                self._events.append(said)
                continue
            assert "return" in said, said
            return said["return"]

    def _until(self, *names: str) -> None:
        while not any(event["event"] in names for event in self._events):
            said = self._next()
            self._events += [said] if "event" in said else []
        self._events = [event for event in self._events if event["event"] not in names]

    def _next(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the machine ended"
        said: dict[str, Any] = json.loads(line)
        return said

    def stop(self) -> None:
        """Switch it off."""
        self.guest.close()
        self.ask("quit")
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
