"""A disk of a recovery point as a stream of bytes, from its first to its last."""

from __future__ import annotations

import os
from collections.abc import Callable

from ingot.embedded import Progress, Repo
from media.chunk_reader import ChunkReader
from media.disk_view import DiskView
from media.extents import Extent
from media.faults import ExtentLost, TargetUnwritable
from media.reader import Lost, Outcome
from media.recovery_point import DiskTree

_STEP_BYTES = 4 << 20
_ZEROS = bytes(_STEP_BYTES)


def stream(repo: Repo, disk: DiskTree, fd: int, progress: Progress) -> Outcome:
    """Write the disk to a file descriptor, in order, holes as zeros. What is lost reads as zero and is in the outcome.

    Raises TargetUnwritable when nobody takes the bytes any more.
    """
    outcome = Outcome(hole_bytes=disk.size - disk.data_bytes)
    progress.begin("restore", disk.size)

    def put(piece: bytes | memoryview) -> None:
        _write(fd, piece)
        outcome.bytes_written += len(piece)
        progress.advance(len(piece))

    with ChunkReader(repo.pool, repo.containers) as chunks:
        view = DiskView(repo.pool, chunks, disk)
        while outcome.bytes_written < disk.size:
            length = min(_STEP_BYTES, disk.size - outcome.bytes_written)
            _step(view, outcome, length, put)
    return outcome


def _step(view: DiskView, outcome: Outcome, length: int, put: Callable[[bytes | memoryview], None]) -> None:
    """The next `length` bytes, or fewer: those before something that is lost, or that itself."""
    position = outcome.bytes_written
    while True:
        try:
            pieces = view.pieces(position, length)
            break
        except ExtentLost as lost:
            end = min(lost.extent.end, position + length)
            if lost.extent.offset <= position < end:
                outcome.lost.append(Lost(Extent(position, end - position), lost.fault))
                pieces = [memoryview(_ZEROS)[: end - position]]
                break
            length = lost.extent.offset - position
    for piece in pieces:
        put(piece)


def _write(fd: int, data: bytes | memoryview) -> None:
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(fd, left) :]
        except OSError as error:
            raise TargetUnwritable(f"standard output: {error.strerror}") from error
