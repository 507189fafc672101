"""/sim: what Python does to a simulator, for those who run it as a process of its own.

JSON in, JSON out, and no password: it listens on the loopback, and what it holds is made up.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.sim.vcenter.inventory import Datastore, Host
from tests.sim.vcenter.relocation import move_files
from tests.sim.vcenter.sim_machine import SimMachine

if TYPE_CHECKING:
    from tests.sim.vcenter.endpoint import Answering

JSON = "application/json"
Action = Callable[[dict[str, Any]], Any]


class ControlRoom:
    """POST /sim/ACTION with a document; GET /sim/state, /sim/help, and /sim/disk for a disk's bytes."""

    def __init__(self, vcenter: Any) -> None:
        self._vcenter = vcenter
        self.actions: dict[str, Action] = {
            "help": lambda _: {"actions": sorted(self.actions)},
            "state": lambda _: self._state(),
            "machine": self._add_machine,
            "write": self._write,
            "scribble": self._scribble,
            "power": self._power,
            "reset-tracking": lambda what: self._machine(what).reset_tracking(),
            "fail-tracking": lambda what: self._machine(what).fail_tracking(what.get("reason")),
            "drop-changes-at-consolidation": lambda what: self._machine(what).drop_changes_at_consolidation(),
            "drop-changes-beyond": lambda what: self._machine(what).drop_changes_beyond(
                what.get("boundary", 128 << 30)
            ),
            "rename": lambda what: self._machine(what).rename(what["to"]),
            "folder": lambda what: self._machine(what).put(what["to"]),
            "tag": lambda what: self._machine(what).tag(what["tag"]),
            "untag": lambda what: self._machine(what).untag(what["tag"]),
            "attribute": lambda what: self._machine(what).set_custom(what["name"], what["value"]),
            "destroy": lambda what: self._machine(what).destroy(),
            "resize": lambda what: self._machine(what).resize(what["disk"], what["size"]),
            "move": self._move,
            "fail-quiescing": lambda what: vcenter.fail_quiescing(what["times"]),
            "fault": self._fault,
            "clear-faults": lambda _: vcenter.faults.clear(),
            "latency": self._latency,
            "clock": lambda what: vcenter.clock.advance(what["advance"]),
            "expire-sessions": lambda what: vcenter.expire_sessions(what.get("user")),
            "forget-updates": lambda _: vcenter.forget_updates(),
            "cut-connections": lambda _: vcenter.cut_connections(),
            "free-space": self._free_space,
        }

    def answer(self, ask: Answering, verb: str, path: str, query: dict[str, list[str]]) -> None:
        name = path.removeprefix("/sim/")
        if name == "disk" and verb == "GET":
            self._give_disk(ask, query)
            return
        action = self.actions.get(name)
        if action is None:
            ask.answer(404, json.dumps({"error": f"no action {name}", "actions": sorted(self.actions)}).encode(), JSON)
            return
        try:
            answer = action(json.loads(ask.body() or b"{}"))
        except (KeyError, ValueError, IndexError) as error:
            ask.answer(400, json.dumps({"error": f"{name}: {error!r}"}).encode(), JSON)
            return
        ask.answer(200, json.dumps(answer if answer is not None else {}).encode(), JSON)

    def _machine(self, what: dict[str, Any]) -> SimMachine:
        found: SimMachine = self._vcenter.machine(what["machine"])
        return found

    def _state(self) -> dict[str, Any]:
        vcenter = self._vcenter
        with vcenter.changes.lock:
            machines = [SimMachine(each) for each in vcenter.machines()]
            return {
                "name": vcenter.name,
                "instance_uuid": vcenter.instance_uuid,
                "sessions": len(vcenter.sessions.by_key),
                "calls": dict(vcenter.faults.calls),
                "machines": [
                    {
                        "name": each.name,
                        "id": each.moid,
                        "power": each.machine.power,
                        "snapshots": [{"name": s.name, "description": s.description} for s in each.snapshots],
                        "consolidation_needed": each.machine.consolidation_needed,
                    }
                    for each in machines
                ],
                "unexpected": [repr(each) for each in vcenter.unexpected],
            }

    def _add_machine(self, what: dict[str, Any]) -> dict[str, str]:
        made = self._vcenter.add_machine(what.pop("name"), what.pop("disks"), **what)
        return {"id": made.moid, "instance_uuid": made.instance_uuid}

    def _write(self, what: dict[str, Any]) -> None:
        self._machine(what).guest_write(what.get("disk", 0), what["offset"], base64.b64decode(what["data"]))

    def _scribble(self, what: dict[str, Any]) -> dict[str, int]:
        """The guest writes `count` pieces of `bytes` at random places; the same for the same seed."""
        machine, disk = self._machine(what), what.get("disk", 0)
        chance = random.Random(what.get("seed", 0))
        length, size = what.get("bytes", 65536), machine.disk(disk).size
        for _ in range(what["count"]):
            offset = chance.randrange(0, max(1, size - length)) // 4096 * 4096
            machine.guest_write(disk, offset, chance.randbytes(length))
        return {"written": length * what["count"]}

    def _power(self, what: dict[str, Any]) -> None:
        machine = self._machine(what)
        {"on": machine.power_on, "off": machine.power_off, "loss": machine.power_loss}[what["to"]]()

    def _move(self, what: dict[str, Any]) -> None:
        machine = self._machine(what)
        with self._vcenter.changes.lock:
            if "datastore" in what:
                move_files(machine.machine, self._vcenter.named(Datastore, what["datastore"]))
                machine.machine.refresh_disks()
                machine.machine.touch()
            if "host" in what:
                machine.move(self._vcenter.named(Host, what["host"]))

    def _fault(self, what: dict[str, Any]) -> None:
        self._vcenter.faults.plan(what.pop("method"), what.pop("fault", None), **what)

    def _latency(self, what: dict[str, Any]) -> None:
        if "method" in what:
            self._vcenter.faults.latency_by_method[what["method"]] = what["seconds"]
        else:
            self._vcenter.faults.latency_seconds = what["seconds"]

    def _free_space(self, what: dict[str, Any]) -> None:
        with self._vcenter.changes.lock:
            self._vcenter.named(Datastore, what["datastore"]).free_bytes = what["bytes"]

    def _give_disk(self, ask: Answering, query: dict[str, list[str]]) -> None:
        """A disk's bytes, whole: for comparing."""
        try:
            machine = self._vcenter.machine(query["machine"][0])
            number = int((query.get("disk") or ["0"])[0])
            wanted = (query.get("snapshot") or [""])[0]
            snapshot = next((each for each in machine.snapshots if wanted in (each.name, each.moid)), None)
            size = machine.disk(number).size
        except (KeyError, ValueError, IndexError) as error:
            ask.answer(400, json.dumps({"error": repr(error)}).encode(), JSON)
            return
        ask.begin(200, size, "application/octet-stream", {})
        for at in range(0, size, 1 << 22):
            ask.wfile.write(machine.disk_bytes(number, snapshot, at, min(1 << 22, size - at)))
