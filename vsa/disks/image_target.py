"""Where a disk is restored to as an image of another format than raw: qcow2, VMDK, VHD, VHDX, VDI.

qemu makes the image under another name beside its own, and a qemu-nbd of ours writes to it. It gets its own name when
all of it is there; an interrupted restore leaves nothing.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from types import TracebackType

from media.faults import TargetExists, TargetUnwritable
from runtime.clock import Clock
from vsa.disks.formats import Format
from vsa.disks.nbd_target import written
from vsa.disks.qemu import QemuNbd, open_for_child, run
from vsa.disks.target import give_name
from vsa.faults import QemuFailed
from vsa.nbd.client import NbdClient

_SECTOR_BYTES = 512
_OPTIONS = {Format.VHD: "force_size=on"}  # else it has whole cylinders, and is larger than the disk


class ImageTarget:
    """A new image. Use as a context: leaving it without `finish` removes what was written.

    Image formats count in sectors: a disk that ends within one is rounded up, and reads as zero there.
    """

    reads_zero = True

    def __init__(self, path: Path, size: int, format: Format, clock: Clock, *, overwrite: bool) -> None:
        """Raises TargetExists unless `overwrite`, TargetUnwritable, QemuMissing."""
        if os.path.lexists(path) and not (overwrite and path.is_file()):
            raise TargetExists(f"{path}: expected nothing there; --overwrite replaces a file, and nothing but a file")
        self._path = path
        self._overwrite = overwrite
        self._partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
        self._fd = -1
        self._qemu: QemuNbd | None = None
        try:
            self._create(-(-size // _SECTOR_BYTES) * _SECTOR_BYTES, format)
            node = {"driver": format.driver, "file": {"driver": "file", "filename": f"/proc/self/fd/{self._fd}"}}
            self._qemu = QemuNbd(str(path), node, [self._fd], clock, writable=True)
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def _create(self, size: int, format: Format) -> None:
        try:
            os.close(os.open(self._partial, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            options = ["-o", _OPTIONS[format]] if format in _OPTIONS else []
            # the name may begin like an option, or like a protocol: never given to qemu bare
            run(
                [
                    "qemu-img",
                    "create",
                    "-q",
                    "-f",
                    format.driver,
                    *options,
                    f"file:{self._partial.absolute()}",
                    str(size),
                ]
            )
            self._fd = open_for_child(self._partial, os.O_RDWR)
        except OSError as error:
            raise TargetUnwritable(f"{self._path}: cannot be created: {error.strerror}") from error
        except QemuFailed as fault:
            raise TargetUnwritable(f"{self._path}: cannot be created with {size} bytes: {fault}") from fault

    def write(self, offset: int, data: memoryview) -> None:
        with written(self._path):
            self._client.write(offset, data)

    def write_zeros(self, offset: int, length: int) -> None:
        """Nothing to do: the image is new."""

    def finish(self) -> None:
        """Give the image its name. Raises TargetExists when another was there first."""
        with written(self._path):
            self._client.flush()
            assert self._qemu is not None
            self._qemu.close()
        give_name(self._partial, self._path, overwrite=self._overwrite)

    @property
    def _client(self) -> NbdClient:
        if self._qemu is None:
            raise TargetUnwritable(f"{self._path}: not open any more")
        return self._qemu.client

    def __enter__(self) -> ImageTarget:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        qemu, self._qemu = self._qemu, None
        fd, self._fd = self._fd, -1
        if qemu is not None:
            qemu.close(kill=True)
        if fd >= 0:
            os.close(fd)
        self._partial.unlink(missing_ok=True)
