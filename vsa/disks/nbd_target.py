"""Where a disk is restored to as an NBD export: over what a person named, or a disk that a hypervisor gives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from media.faults import TargetExists, TargetUnwritable
from runtime.clock import Clock
from vsa.disks.nbd import NbdDisk
from vsa.faults import NbdFailed
from vsa.nbd.client import NbdClient, connect
from vsa.nbd.numbers import ExportFlag
from vsa.nbd.url import NbdUrl


@contextmanager
def written(place: object) -> Iterator[None]:
    """Inside, what a server refuses to write is TargetUnwritable."""
    try:
        yield
    except NbdFailed as fault:
        raise TargetUnwritable(f"{place}: {fault}") from fault


class NbdTarget:
    """An export: asked for by URL and with `--overwrite`, because what is on it is gone afterwards."""

    reads_zero = False

    def __init__(self, url: NbdUrl, size: int, clock: Clock, *, overwrite: bool) -> None:
        """Raises TargetExists unless `overwrite`, NbdFault, TargetUnwritable, also when the export is too small."""
        if not overwrite:
            raise TargetExists(f"{url}: an NBD export; --overwrite writes over what is on it")
        self._url = url
        self._client = connect(url, clock)
        export = self._client.export
        if export.size < size or export.flags & ExportFlag.READ_ONLY:
            self._client.close()
            what = "a writable export" if export.flags & ExportFlag.READ_ONLY else f"at least {size} bytes"
            raise TargetUnwritable(f"{url}: expected {what}, found {export.size} bytes, {export.flags.name}")

    def write(self, offset: int, data: memoryview) -> None:
        with written(self._url):
            self._client.write(offset, data)

    def write_zeros(self, offset: int, length: int) -> None:
        with written(self._url):
            self._client.write_zeros(offset, length)

    def finish(self) -> None:
        """Wait until the server says that it holds everything."""
        with written(self._url):
            self._client.flush()

    def __enter__(self) -> NbdTarget:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()


class NbdOverwritten(NbdDisk):
    """An export that is read and written through one connection: whoever serves it may open its disk only once."""

    def __init__(self, client: NbdClient, name: str, size: int, *, reads_zero: bool) -> None:
        """Takes the connection over. Raises TargetUnwritable where the export is not writable, or of another size."""
        super().__init__(client, name)
        self.reads_zero = reads_zero
        if client.export.size != size or client.export.flags & ExportFlag.READ_ONLY:
            client.close()
            found = f"{client.export.size} bytes, {client.export.flags.name}"
            raise TargetUnwritable(f"{name}: expected a writable export of {size} bytes, found {found}")

    def write(self, offset: int, data: memoryview) -> None:
        with written(self._name):
            self._client.write(offset, data)

    def write_zeros(self, offset: int, length: int) -> None:
        with written(self._name):
            self._client.write_zeros(offset, length)

    def finish(self) -> None:
        """Wait until the server says that it holds everything."""
        with written(self._name):
            self._client.flush()
