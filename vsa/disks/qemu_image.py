"""A disk in an image of any format that qemu reads: qcow2, VMDK, VHD, VHDX, VDI."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType

from media.extents import Extent
from runtime.clock import Clock
from vsa.disks.layers import Layers
from vsa.disks.nbd import NbdDisk
from vsa.disks.qemu import QemuNbd, check
from vsa.faults import ImageEmpty


class QemuImageDisk:
    """The disk in an image that a child reads for us. A `Disk`."""

    def __init__(self, layers: Layers, clock: Clock) -> None:
        """Takes over `layers`. Raises what QemuNbd and check do, ImageEmpty."""
        self._layers = layers
        try:
            for layer in layers.checkable():
                check(str(layers.path), layer, layers.fds)
            self._qemu = QemuNbd(
                str(layers.path), layers.node, layers.fds, clock, writable=False, snapshot=_option(layers)
            )
        except BaseException:
            layers.close()
            raise
        self._disk = NbdDisk(self._qemu.client, str(layers.path))
        if self.size == 0:
            self.close()
            raise ImageEmpty(f"{layers.path}: expected a disk image, found a disk of 0 bytes")

    @property
    def size(self) -> int:
        return self._disk.size

    def data_extents(self, offset: int, length: int) -> Iterator[Extent]:
        return self._disk.data_extents(offset, length)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self._disk.read_into(offset, buffer)

    def check(self) -> None:
        """Also raises ImageChanged, for a file of the chain that was written to since it was opened."""
        self._layers.check()

    def close(self) -> None:
        """May be called twice."""
        try:
            self._qemu.close()
        finally:
            self._layers.close()

    def __enter__(self) -> QemuImageDisk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _option(layers: Layers) -> str:
    """The snapshot as qemu-nbd takes it: a comma is doubled."""
    if layers.snapshot is None:
        return ""
    id, name = (text.replace(",", ",,") for text in (layers.snapshot.id, layers.snapshot.name))
    return f"snapshot.id={id},snapshot.name={name}"
