"""ReconfigVM_Task: a ConfigSpec onto a machine."""

from __future__ import annotations

from typing import Any

from pyVmomi import vim, vmodl

from tests.sim.vcenter.clone import clone
from tests.sim.vcenter.device_changes import DEVICE_CHANGES
from tests.sim.vcenter.events import happened
from tests.sim.vcenter.hardware import Dev
from tests.sim.vcenter.machine import Machine
from tests.sim.vcenter.objects import Call, properties_of, serves
from tests.sim.vcenter.tasks import Task

_HARDWARE = {"numCPUs": "numCPU", "memoryMB": "memoryMB", "numCoresPerSocket": "numCoresPerSocket"}
_MERGED = ("files", "flags", "tools", "bootOptions", "cpuAllocation", "memoryAllocation", "latencySensitivity")
_SPECIAL = {"deviceChange", "extraConfig", "powerOpInfo", "vAppConfig", "vmProfile", "crypto", "changeVersion"}


def apply(machine: Machine, spec: Any) -> None:
    """Change a machine as a specification says. With the lock held. Raises faults."""
    machine.vcenter.policies.check(spec)
    config = machine.config
    for info in spec._GetPropertyList():
        value = getattr(spec, info.name)
        if value is None or (isinstance(value, list) and not value) or info.name in _SPECIAL:
            continue
        if info.name in _HARDWARE:
            setattr(config.hardware, _HARDWARE[info.name], value)
        elif info.name in _MERGED and getattr(config, info.name) is not None:
            _merge(getattr(config, info.name), value)
        elif info.name == "name":
            machine.rename(value)
        elif info.name in properties_of(type(config)):
            setattr(config, info.name, clone(value))
    if spec.powerOpInfo is not None:
        _merge(config.defaultPowerOps, spec.powerOpInfo)
    _merge_extra(config, spec.extraConfig)
    for change in spec.deviceChange:
        DEVICE_CHANGES[str(change.operation)](machine, change)
    machine.vcenter.policies.apply(machine, spec)
    now = machine.vcenter.clock.now()
    config.modified, config.changeVersion = now, f"{now:%Y-%m-%dT%H:%M:%S}.{machine.revision:06d}Z"
    machine.refresh_disks()
    machine.touch()


def _merge(into: Any, new: Any) -> None:
    for info in new._GetPropertyList():
        value = getattr(new, info.name)
        if value is not None and not (isinstance(value, list) and not value):
            setattr(into, info.name, clone(value))


def _merge_extra(config: Any, options: Any) -> None:
    by_key = {each.key: each for each in config.extraConfig}
    for option in options:
        if option.value in ("", None):
            by_key.pop(option.key, None)
        else:
            by_key[option.key] = clone(option)
    config.extraConfig = list(by_key.values())


@serves(vim.VirtualMachine, "ReconfigVM_Task", "VirtualMachine.Config.Settings")
def reconfigure(call: Call, machine: Machine, spec: Any) -> Any:
    if spec.changeTrackingEnabled is not None:
        call.vcenter.authorization.need(call.user, "VirtualMachine.Config.ChangeTracking", machine)
    for change in spec.deviceChange:
        privilege = _privilege(change)
        call.vcenter.authorization.need(call.user, privilege, machine)

    def work(task: Task) -> None:
        with machine.vcenter.changes.lock:
            before, disks = clone(machine.config), dict(machine.disks)
            machine.new_keys = {}
            try:
                apply(machine, spec)
                happened(call, vim.event.VmReconfiguredEvent, machine, configSpec=vim.vm.ConfigSpec())
            except vmodl.MethodFault:
                machine.config, machine.disks = before, disks
                raise

    return call.vcenter.tasks.start(call, machine, work)


def _privilege(change: Any) -> str:
    if not isinstance(change.device, Dev.VirtualDisk):
        return (
            "VirtualMachine.Config.AddRemoveDevice"
            if str(change.operation) != "edit"
            else "VirtualMachine.Config.EditDevice"
        )
    if str(change.operation) == "add":
        new = str(change.fileOperation or "") == "create"
        return "VirtualMachine.Config.AddNewDisk" if new else "VirtualMachine.Config.AddExistingDisk"
    return (
        "VirtualMachine.Config.RemoveDisk" if str(change.operation) == "remove" else "VirtualMachine.Config.DiskExtend"
    )
