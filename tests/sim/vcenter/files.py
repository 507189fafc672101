"""Files of datastores that a client reads and writes: small ones of machines, and what else lies there.

A machine's vmx, nvram and disk descriptors are made when somebody first asks; whatever was written is what is there.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from pyVmomi import vim

from tests.sim.vcenter.inventory import Datastore
from tests.sim.vcenter.machine import Machine

_NVRAM_BYTES = {"bios": 8684, "efi": 270840}


def split(vcenter: Any, path: str) -> tuple[Datastore, str]:
    """`[datastore] path` as an object and what is below it. Raises InvalidDatastorePath."""
    store = vcenter.datastore_of(path)
    inside = path.partition("]")[2].strip().strip("/")
    if ".." in Path(inside).parts:
        raise vim.fault.InvalidDatastorePath(datastorePath=path)
    return store, inside


def find(vcenter: Any, store: Datastore, inside: str) -> Path | None:
    """The file, made where it is a machine's and nobody wrote it; None where there is none."""
    place = store.path / inside
    if place.is_file():
        if store.type == "vsan" and inside.endswith(("-flat.vmdk", "-sesparse.vmdk")):
            return None  # objects of vSAN are no files
        return place
    name = f"[{store.name}] {inside}"
    for machine in vcenter.machines():
        if machine.home_is(f"[{store.name}] {inside.rpartition('/')[0]}"):
            content = _made(machine, name)
            if content is not None:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content)
                return place
    return None


def has_directory(vcenter: Any, store: Datastore, inside: str) -> bool:
    """Whether files can be put there."""
    if not inside or (store.path / inside).is_dir():
        return True
    return any(machine.home_is(f"[{store.name}] {inside}") for machine in vcenter.machines())


def _made(machine: Machine, name: str) -> bytes | None:
    files = machine.config.files
    if name == files.vmPathName:
        return vmx_of(machine).encode()
    if name == f"{files.vmPathName.removesuffix('.vmx')}.nvram":
        return random.Random(machine.config.uuid).randbytes(_NVRAM_BYTES[str(machine.config.firmware)])
    for disk in machine.disks.values():
        for layer in disk.layers:
            if name == layer.file_name:
                return _descriptor(disk.size, layer.path.name).encode()
    return None


def vmx_of(machine: Machine) -> str:
    """The settings that matter, as a vmx has them."""
    config = machine.config
    lines = {
        ".encoding": "UTF-8",
        "config.version": "8",
        "virtualHW.version": config.version.removeprefix("vmx-"),
        "displayName": config.name,
        "guestOS": config.guestId.removesuffix("Guest"),
        "firmware": config.firmware,
        "memSize": config.hardware.memoryMB,
        "numvcpus": config.hardware.numCPU,
        "nvram": f"{config.files.vmPathName.rpartition('/')[2].removesuffix('.vmx')}.nvram",
        "uuid.bios": config.uuid,
        "vc.uuid": config.instanceUuid,
        **{option.key: option.value for option in config.extraConfig},
    }
    for key, disk in machine.disks.items():
        device = machine.device(key)
        lines[f"scsi{(device.controllerKey - 1000)}:{device.unitNumber}.fileName"] = disk.layers[-1].name.rpartition(
            "/"
        )[2]
    return "".join(f'{key} = "{value}"\n' for key, value in lines.items())


def _descriptor(size: int, extent: str) -> str:
    return (
        '# Disk DescriptorFile\nversion=1\nencoding="UTF-8"\nCID=fffffffe\nparentCID=ffffffff\n'
        f'createType="vmfs"\n\nRW {size // 512} VMFS "{extent}"\n'
    )
