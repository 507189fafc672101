"""Bytes behind a disk: a base, a sparse file, and on top of it a layer for every snapshot that froze what lies below.

A layer knows which byte ranges it holds; reading goes from the top down. Nothing is written to a layer that a snapshot
froze, so what a snapshot shows never changes, until consolidation moves the layers above into the one below.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.sim.vcenter.extents import Extents, Range
from tests.sim.vcenter.sparse import data_ranges
from tests.sim.vcenter.tracking import Tracking

_STEP = 4 << 20


class Layer:
    """One file of a disk. The base holds everything, an upper one what `held` says."""

    def __init__(self, datastore: Any, name: str, *, is_base: bool) -> None:
        self.datastore = datastore
        self.name = name  # of the vmdk in its datastore: `web01/web01-000001.vmdk`
        self.is_base = is_base
        self.held = Extents()
        self.readers = 0  # who reads it by NBD: such a file cannot be consolidated

    @property
    def file_name(self) -> str:
        """As a vCenter writes it."""
        return f"[{self.datastore.name}] {self.name}"

    @property
    def path(self) -> Path:
        """Where its bytes are."""
        extent = "-flat.vmdk" if self.is_base else "-sesparse.vmdk"
        path: Path = self.datastore.path / (self.name.removesuffix(".vmdk") + extent)
        return path

    def pieces(self, first: int, end: int) -> Iterator[Range]:
        """What this layer answers of a range."""
        if self.is_base:
            yield first, end
        else:
            yield from self.held.within(first, end)

    def data(self, first: int, end: int) -> Iterator[Range]:
        """What may be something else than zero."""
        if not self.is_base:
            yield from self.held.within(first, end)
            return
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            yield from data_ranges(file.fileno(), first, end)

    def read(self, first: int, end: int) -> bytes:
        data = b""
        if self.path.exists():
            with self.path.open("rb") as file:
                data = os.pread(file.fileno(), end - first, first)
        return data.ljust(end - first, b"\0")

    def write(self, offset: int, data: bytes) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.pwrite(descriptor, data, offset)
        finally:
            os.close(descriptor)
        if not self.is_base:
            self.held.add(offset, offset + len(data))

    def make(self, size: int) -> None:
        """Have a file, sparse, for somebody who writes to it himself."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(descriptor, max(size, os.fstat(descriptor).st_size))
        finally:
            os.close(descriptor)

    def stored_bytes(self) -> int:
        return self.path.stat().st_blocks * 512 if self.path.exists() else 0

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


class Disk:
    """A virtual disk of a machine. `layers[-1]` takes what the guest writes."""

    def __init__(self, key: int, uuid: str, size: int, base: Layer, seed: str) -> None:
        self.key = key
        self.uuid = uuid
        self.size = size
        self.layers = [base]
        self.tracking = Tracking(seed)
        self.is_independent = False

    def write(self, offset: int, data: bytes) -> None:
        if offset < 0 or offset + len(data) > self.size:
            raise ValueError(f"a write to {offset} of {len(data)} bytes; the disk has {self.size}")
        self.layers[-1].write(offset, data)
        self.tracking.note(offset, offset + len(data), self.size)

    def read(self, offset: int, length: int, layers: list[Layer] | None = None) -> bytes:
        out = bytearray(length)
        for first, end, layer in placed(self.layers if layers is None else layers, offset, offset + length):
            out[first - offset : end - offset] = layer.read(first, end)
        return bytes(out)

    def data(self, layers: list[Layer] | None = None) -> Extents:
        """Allocated ranges."""
        found = Extents()
        for layer in self.layers if layers is None else layers:
            for first, end in layer.data(0, self.size):
                found.add(first, end)
        return found

    def freeze(self, upper: Layer) -> list[Layer]:
        """The layers so far stand still; `upper` takes the writes from now on."""
        frozen = list(self.layers)
        self.layers.append(upper)
        return frozen

    def stored_bytes(self) -> int:
        return sum(layer.stored_bytes() for layer in self.layers)


def placed(layers: list[Layer], first: int, end: int) -> Iterator[tuple[int, int, Layer]]:
    """A range in pieces, each with the layer that answers it; not in order."""
    left = Extents([(first, end)])
    for layer in reversed(layers):
        rest = Extents()
        for here, there in left:
            at = here
            for begin, stop in layer.pieces(here, there):
                yield begin, stop, layer
                rest.add(at, begin)
                at = stop
            rest.add(at, there)
        left = rest


def merge(lower: Layer, upper: Layer, chains: list[list[Layer]]) -> bool:
    """Move a layer into the one below it, and out of every chain. False when somebody reads one of them."""
    if lower.readers or upper.readers:
        return False
    for first, end in upper.held:
        for at in range(first, end, _STEP):
            lower.write(at, upper.read(at, min(end, at + _STEP)))
    upper.remove()
    for chain in chains:
        if upper in chain:
            chain.remove(upper)
    return True
