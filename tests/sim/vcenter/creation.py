"""CreateVM_Task, registering, moving into folders."""

from __future__ import annotations

import uuid
from typing import Any

from pyVmomi import vim, vmodl

from tests.sim.vcenter.blueprint import Blueprint
from tests.sim.vcenter.configuration import new_config
from tests.sim.vcenter.events import happened
from tests.sim.vcenter.hardware import basic_devices
from tests.sim.vcenter.inventory import Folder, Host, Pool
from tests.sim.vcenter.machine import Machine
from tests.sim.vcenter.objects import Call, serves
from tests.sim.vcenter.power import take_away
from tests.sim.vcenter.reconfiguration import apply
from tests.sim.vcenter.tasks import Task


@serves(vim.Folder, "CreateVM_Task", "VirtualMachine.Inventory.Create")
def create_machine(call: Call, folder: Folder, config: Any, pool: Any, host: Any = None) -> Any:
    vcenter = call.vcenter
    into: Pool = vcenter.need(pool)
    vcenter.authorization.need(call.user, "Resource.AssignVMToPool", into)
    if folder.letter != "v":
        raise vmodl.fault.NotSupported(msg="machines live in folders of machines")
    if not config.name or config.files is None or not config.files.vmPathName:
        raise vmodl.fault.InvalidArgument(invalidProperty="config.files.vmPathName")
    store = vcenter.datastore_of(config.files.vmPathName)
    vcenter.authorization.need(call.user, "Datastore.AllocateSpace", store)
    on: Host = vcenter.need(host) if host is not None else into.cluster.hosts[0]

    def work(task: Task) -> Any:
        with vcenter.changes.lock:
            same = next((each for each in folder.children if each.name == config.name), None)
            if same is not None:
                raise vim.fault.DuplicateName(name=config.name, object=same.ref)
            _check_identity(vcenter, config)
            made = Machine(vcenter, Blueprint(config.name, [], store, [], powered_on=False), folder, on, into)
            try:
                _furnish(made, config, store)
            except vmodl.MethodFault:
                take_away(made, with_files=True)
                raise
            happened(call, vim.event.VmCreatedEvent, made, template=False)
            return made.ref

    return vcenter.tasks.start(call, folder, work)


def _check_identity(vcenter: Any, config: Any) -> None:
    """vCenter does not have two machines with one instance uuid: it gives the newcomer another."""
    taken = {each.config.instanceUuid for each in vcenter.machines()}
    if config.instanceUuid in taken:
        config.instanceUuid = str(uuid.uuid4())


def _furnish(made: Machine, spec: Any, store: Any) -> None:
    name = spec.name
    home = _home(made.vcenter, store, spec.files.vmPathName, name)
    config = new_config(made.vcenter, name, home, spec.guestId or "otherGuest64")
    config.uuid, config.instanceUuid = str(uuid.uuid4()), str(uuid.uuid4())
    config.extraConfig = [vim.option.OptionValue(key="nvram", value=f"{name}.nvram")]
    kinds = (vim.vm.device.VirtualSCSIController, vim.vm.device.VirtualAHCIController, vim.vm.device.VirtualCdrom)
    config.hardware.device = [each for each in basic_devices(disks=1) if not isinstance(each, kinds)]
    made.config = config
    path = config.files.vmPathName
    spec.files.vmPathName = path
    made.new_keys = {}
    apply(made, spec)
    config.files.vmPathName = path


def _home(vcenter: Any, store: Any, path: str, name: str) -> str:
    """The directory of a new machine: the one of a path to a vmx, or a new one named after the machine."""
    inside = path.partition("]")[2].strip()
    if inside.endswith(".vmx"):
        directory = inside.rpartition("/")[0]
        return f"[{store.name}] {directory}/"
    taken = {each.config.files.vmPathName.rpartition("/")[0] for each in vcenter.machines() if each.name != name}
    base = inside.strip("/") or name
    number, directory = 0, base
    while f"[{store.name}] {directory}" in taken:
        number += 1
        directory = f"{base}_{number}"
    return f"[{store.name}] {directory}/"


@serves(vim.Folder, "MoveIntoFolder_Task", "VirtualMachine.Inventory.Move")
def move_into(call: Call, folder: Folder, list: Any) -> Any:
    moved = [call.vcenter.need(each) for each in list]

    def work(task: Task) -> None:
        with call.vcenter.changes.lock:
            for each in moved:
                folder.put(each)

    return call.vcenter.tasks.start(call, folder, work)
