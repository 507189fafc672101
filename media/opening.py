"""Opening the records of a run: decrypt, decompress, compare fingerprints, all into memory that is used again.

A record goes the fast way when its header says what the footer said; every other one, and one that does not open so,
goes the careful way, which names the fault. Both end in one check of fingerprints for a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from ext.fingerprint import Fingerprinter
from media.container_reader import ContainerReader
from media.faults import DamageFault, RecordCorrupt
from media.ids import Where
from media.keys import SealingKey
from media.known_chunks import keys
from media.record import (
    HEADER_BYTES,
    MAGIC,
    MAX_PLAIN_BYTES,
    Codec,
    KeyFinder,
    Type,
    headers_at,
    open_checked,
)
from media.restore_plan import Run, Wanted

# Plain bytes opened between two checks of fingerprints: two of the largest chunks there are, and what stays in a
# core's cache from decompressing to writing.
_ARENA_BYTES = 2 << 20


@dataclass
class Batch:
    """Some records of a run, opened: record i is `memory[starts[i] : starts[i] + its length]`; and what was lost.

    `memory` is the opener's: it holds until the next batch.
    """

    memory: NDArray[np.uint8]
    records: list[Wanted] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    end: int = 0
    lost: list[tuple[Wanted, DamageFault]] = field(default_factory=list)


class Opener:
    """For one thread."""

    def __init__(self, containers: ContainerReader, fingerprinter: Fingerprinter, *, sealed_pool: bool) -> None:
        self._containers = containers
        self._fingerprinter = fingerprinter
        self._seal = int(sealed_pool)
        self._decompressor = zstandard.ZstdDecompressor()
        self._arena = np.empty(_ARENA_BYTES, np.uint8)
        self._scratch = memoryview(bytearray(_ARENA_BYTES))

    def open(self, run: Run, raw: bytes) -> Iterator[Batch]:
        """All records of `run`, whose bytes are `raw`; fewer bytes than asked for are damage of what they lack."""
        find_key = self._containers.key_finder(run.cid)
        view = memoryview(raw)
        headers = _Headers(run, np.frombuffer(raw, np.uint8), self._seal)
        batch = Batch(self._arena)
        for number, record in enumerate(run.records):
            if batch.end + record.plain_len > len(batch.memory) and (batch.records or batch.lost):
                yield self._compared(run.cid, batch)
                batch = Batch(self._arena)
            at = record.offset - run.offset
            try:
                if headers.fine[number] and self._open(headers, number, record, view, at, find_key, batch):
                    continue
                self._open_carefully(run.cid, record, view[at:], find_key, batch)
            except DamageFault as fault:
                batch.lost.append((record, fault))
        yield self._compared(run.cid, batch)

    def _open(
        self,
        headers: _Headers,
        number: int,
        record: Wanted,
        view: memoryview,
        at: int,
        find_key: KeyFinder,
        batch: Batch,
    ) -> bool:
        key = headers.key(number, find_key)
        if key is None or key.seal != self._seal:
            return False
        payload = view[at + HEADER_BYTES : record.end - record.offset + at]
        if len(payload) > len(self._scratch):
            self._scratch = memoryview(bytearray(len(payload)))
        opened = open_checked(
            headers.raw(number),
            headers.codecs[number],
            payload,
            key,
            self._decompressor,
            self._scratch,
            self._room(batch, record),
        )
        if opened:
            self._took(batch, record)
        return opened

    def _open_carefully(self, cid: int, record: Wanted, raw: memoryview, find_key: KeyFinder, batch: Batch) -> None:
        header, plain = self._containers.decode(raw, cid, record.offset, find_key)
        if header.fingerprint != record.fingerprint or len(plain) != record.plain_len:
            slot = f"slot {record.slot}"
            raise RecordCorrupt(f"{Where(cid, record.offset)}: not the record that the footer names in {slot}")
        self._room(batch, record)[:] = plain
        self._took(batch, record)

    def _room(self, batch: Batch, record: Wanted) -> memoryview:
        """Where the next record of a batch goes; a chunk larger than our cutter makes any comes to an empty batch."""
        if batch.end + record.plain_len > len(batch.memory):
            self._arena = batch.memory = np.empty(record.plain_len, np.uint8)
        return memoryview(batch.memory)[batch.end : batch.end + record.plain_len]

    def _took(self, batch: Batch, record: Wanted) -> None:
        batch.records.append(record)
        batch.starts.append(batch.end)
        batch.end += record.plain_len

    def _compared(self, cid: int, batch: Batch) -> Batch:
        """The batch without the records that are not what their fingerprint says."""
        found = np.empty((len(batch.records), 32), np.uint8)
        lengths = np.array([record.plain_len for record in batch.records], np.uint32)
        self._fingerprinter.batch(batch.memory, np.array(batch.starts, np.uint32), lengths, found)
        wrong = [
            number
            for number, (record, key) in enumerate(zip(batch.records, keys(found), strict=True))
            if key != record.fingerprint
        ]
        for number in reversed(wrong):
            record = batch.records.pop(number)
            del batch.starts[number]
            where = Where(cid, record.offset)
            batch.lost.append((record, RecordCorrupt(f"{where}: plain bytes are not what their fingerprint says")))
        return batch


class _Headers:
    """The headers of a run's records, taken together; `fine` are those that say what the plan says."""

    def __init__(self, run: Run, raw: NDArray[np.uint8], seal: int) -> None:
        starts = np.array([record.offset for record in run.records], np.int64) - run.offset
        ends = np.array([record.end for record in run.records], np.int64) - run.offset
        inside = ends <= len(raw)
        self._found = np.zeros(len(starts), headers_at(raw[:0], starts[:0]).dtype)
        self._found[inside] = headers_at(raw, starts[inside])
        self.fine = self._as_planned(run, ends - starts, seal) & inside
        self.codecs: list[int] = self._found["codec"].tolist()
        self._key_ids: list[int] = self._found["key_id"].tolist()
        self._raw = self._found.tobytes()
        self._key: tuple[int, SealingKey | None] = (0, None)

    def _as_planned(self, run: Run, lengths: NDArray[np.int64], seal: int) -> NDArray[np.bool_]:
        found = self._found
        plain_lens = np.array([record.plain_len for record in run.records], np.int64)
        fingerprints = np.frombuffer(b"".join(record.fingerprint for record in run.records), np.uint8)
        same: NDArray[Any] = (found["fingerprint"] == fingerprints.reshape(-1, 32)).all(axis=1)
        same &= (found["magic"] == MAGIC) & (found["type"] == Type.CHUNK) & (found["flags"] == 0)
        same &= (found["codec"] <= Codec.ZSTD) & (found["seal"] == seal)
        same &= (found["plain_len"] == plain_lens) & (plain_lens <= MAX_PLAIN_BYTES)
        same &= found["stored_len"].astype(np.int64) + HEADER_BYTES == lengths
        return same

    def raw(self, number: int) -> bytes:
        return self._raw[number * HEADER_BYTES : (number + 1) * HEADER_BYTES]

    def key(self, number: int, find_key: KeyFinder) -> SealingKey | None:
        """The key of a record; one after another nearly always has the same."""
        key_id = self._key_ids[number]
        if self._key[0] != key_id or self._key[1] is None:
            self._key = key_id, find_key(key_id)
        return self._key[1]
