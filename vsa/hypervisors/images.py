"""A directory of disk images as a hypervisor, so that everything runs with no vCenter.

    root/web1.raw              machine web1, one disk; root/web1.json may describe it
    root/shop/db1/disk-0.raw   machine db1 in folder shop, a disk a file, in order of name; db1/machine.json
    root/shop/db1/disk-1.raw

A folder that holds images is a machine; one that holds only folders is a folder of the inventory. Nothing is followed
out of the directory: links are not machines.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from media.backup import Source
from media.disk import Disk
from media.faults import SourceFault
from media.recovery_point import JSON
from media.session_log import DiskName, ParentDisk
from runtime.clock import Clock
from vsa.disks.formats import format_of_name
from vsa.disks.opening import AS_NAMED, open_image
from vsa.faults import DescriptionInvalid, HypervisorUnreachable, MachineMissing, MachineUnfit
from vsa.hypervisors import DiskSeen, Held, MachineSeen, Purpose
from vsa.hypervisors.description import Description, read_description

_DESCRIPTION = "machine.json"
_DEPTH_MAX = 32


@dataclass(frozen=True)
class _Found:
    """Images that are one machine, and where its description would be."""

    path: Path  # of the folder, or of the one image
    images: tuple[Path, ...]
    description: Path

    @property
    def name(self) -> str:
        return self.path.stem if self.images == (self.path,) else self.path.name


class HeldImages:
    """Images that are open. Nothing holds them: a change while they are read is found when all is read."""

    def __init__(self, machine: MachineSeen, images: dict[str, Disk], description: JSON) -> None:
        self.machine = machine
        self.description = description
        self._images = images

    @property
    def disks(self) -> Sequence[DiskName]:
        return [DiskName(key, image.size) for key, image in self._images.items()]

    def sources(self, parents: Mapping[str, ParentDisk]) -> list[Source]:  # noqa: ARG002
        return [Source(key, image) for key, image in self._images.items()]

    def distrust(self, key: str) -> None:
        """Nobody says what changed."""

    def let_go(self) -> None:
        """Nothing is held."""

    def report(self) -> JSON:
        return {}


class ImagesHypervisor:
    """`name` begins the ids of machines that do not say their own, so two directories may hold a web1 each."""

    def __init__(self, name: str, root: Path, clock: Clock) -> None:
        self._name = name
        self._root = root
        self._clock = clock

    def discover(self) -> Iterator[MachineSeen]:
        """Also machines that cannot be protected, with the reason. Two with one id: the second cannot."""
        seen: dict[str, Path] = {}
        for found in self._find():
            machine = self._seen(found)
            other = seen.setdefault(machine.id, found.path)
            if other != found.path:
                reason = f"its id {machine.id} is also that of {_shown(other)}"
                machine = MachineSeen(self._own_id(found), machine.name, machine.folder, reason=reason)
            yield machine

    @contextmanager
    def hold(self, machine: str, why: Purpose) -> Iterator[Held]:  # noqa: ARG002
        found = next((each for each in self._find() if self._id(each, _said(each)[0]) == machine), None)
        if found is None:
            raise MachineMissing(f"{self._root}: expected a machine {machine}, found none")
        seen = self._seen(found)
        if seen.reason is not None:
            raise MachineUnfit(f"{found.path}: {seen.reason}")
        with ExitStack() as stack:
            images: dict[str, Disk] = {}
            for path in found.images:
                image = open_image(path, AS_NAMED, self._clock)
                stack.callback(image.close)
                images[path.name] = image
            files = [{"key": path.name, "path": str(path)} for path in found.images]
            about = {
                "name": seen.name,
                "folder": seen.folder,
                "tags": list(seen.tags),
                "power_state": seen.power_state,
                "custom_attributes": dict(seen.attributes),
            }
            yield HeldImages(seen, images, {"source": "images", "machine": about, "disks": files})

    def _find(self) -> Iterator[_Found]:
        try:
            yield from self._below(self._root, 0)
        except OSError as error:
            raise HypervisorUnreachable(f"{error.filename or self._root}: {error.strerror}") from error

    def _below(self, folder: Path, depth: int) -> Iterator[_Found]:
        with os.scandir(folder) as entries:
            sorted_entries = sorted(entries, key=lambda entry: entry.name)
        images = [
            folder / entry.name
            for entry in sorted_entries
            if _is_image(folder / entry.name) and entry.is_file(follow_symlinks=False)
        ]
        if depth == 0:
            yield from (_Found(path, (path,), path.with_suffix(".json")) for path in images)
        elif images:
            yield _Found(folder, tuple(images), folder / _DESCRIPTION)
            return
        for entry in sorted_entries:
            if depth < _DEPTH_MAX and not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
                yield from self._below(folder / entry.name, depth + 1)

    def _own_id(self, found: _Found) -> str:
        return _shown(":".join((self._name, *found.path.relative_to(self._root).parts)))  # a slash ends an id in a URL

    def _id(self, found: _Found, said: Description) -> str:
        return said.id or self._own_id(found)

    def _seen(self, found: _Found) -> MachineSeen:
        said, reason = _said(found)
        disks = []
        for path in found.images:
            try:
                with open_image(path, AS_NAMED, self._clock) as disk:
                    disks.append(DiskSeen(_shown(path.name), _shown(path.name), disk.size))
            except SourceFault as fault:
                reason = reason or str(fault)
            if _shown(path) != str(path):
                reason = f"{_shown(path)}: a name that is no UTF-8"
        parent = found.path.parent.relative_to(self._root)
        return MachineSeen(
            id=self._id(found, said),
            name=said.name or _shown(found.name),
            folder=said.folder or ("" if parent == Path() else _shown(parent)),
            tags=said.tags,
            power_state=said.power_state,
            attributes=said.custom_attributes,
            disks=tuple(disks),
            reason=reason,
        )


def _shown(path: Path | str) -> str:
    """A name may be any bytes; what is no character in it is shown as such."""
    return os.fsencode(path).decode(errors="replace")


def _is_image(path: Path) -> bool:
    """Whether its name says so, `.img` as well: what has that name is raw or refused."""
    return not path.name.startswith(".") and (path.suffix == ".img" or format_of_name(path) is not None)


def _said(found: _Found) -> tuple[Description, str | None]:
    """The description of a machine; nothing, and why, where it is wrong."""
    try:
        return read_description(found.description), None
    except DescriptionInvalid as fault:
        return Description(), str(fault)
