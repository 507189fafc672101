"""Is a container of chunks that somebody else made what a reader expects? Every byte of it, or a sample of its records.

What is checked always: header, key table, hashes, that records and footer say the same and fill the container, and that
nothing is larger than the pool's cutter makes it. What is opened on top: records, whose tags, lengths and fingerprints
say that others may rely on them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xxhash
import zstandard
from numpy.typing import NDArray

from ext.fingerprint import Fingerprinter
from media.container import Footer, Kind, decode_footer, decode_header, decode_trailer
from media.faults import ContainerCorrupt, RecordCorrupt
from media.ids import Where, cid_text
from media.keys import TAG_BYTES, SealingKey
from media.record import HEADER_BYTES, MAGIC, Codec, Type, headers_at, open_checked, read_record
from media.session_log import Terms

_ARENA_BYTES = 2 << 20  # plain bytes between two checks of fingerprints: the largest chunks, and what stays in a cache


class ContainerCheck:
    """Belongs to one thread at a time. Opens every `every`-th record; none for 0."""

    def __init__(self, terms: Terms, every: int) -> None:
        self._terms = terms
        self._every = every
        self._fingerprinter = Fingerprinter(terms.fingerprint_key)
        self._decompressor = zstandard.ZstdDecompressor()
        self._arena: NDArray[np.uint8] | None = None
        self._scratch = memoryview(bytearray(2 * terms.parameters.average_chunk_bytes))

    def check(self, container: memoryview, cid: int, key_by_id: Mapping[int, SealingKey]) -> Footer:
        """The footer of a container whose records are sealed with these keys.

        Raises ContainerCorrupt, RecordCorrupt, RecordUnsealed, ObjectForeign, FormatTooNew.
        """
        header = decode_header(container, cid, self._terms.repository)
        if header.kind != Kind.DATA:
            raise ContainerCorrupt(f"{cid_text(cid)}: of kind {header.kind}, expected {int(Kind.DATA)}")
        for key_id, wrapped in header.wrapped_keys.items():
            if key_id not in key_by_id or key_by_id[key_id].wrapped != wrapped:
                raise ContainerCorrupt(f"{cid_text(cid)}: key {key_id:016x} in its table is not the session's")
        trailer = decode_trailer(container, cid, len(container))
        body = container[: trailer.footer_offset]
        raw = bytes(container[trailer.footer_offset : trailer.footer_offset + trailer.footer_len])
        footer = decode_footer(raw, trailer, cid)
        if xxhash.xxh3_128_digest(body) != trailer.body_hash:
            raise ContainerCorrupt(f"{cid_text(cid)}: its {len(body)} bytes at 0 are not the ones that its hash covers")
        usable = {id_: key for id_, key in key_by_id.items() if id_ in header.wrapped_keys or not key.seal}
        self._agreed(body, footer, cid, header.header_len, np.array(list(usable), np.uint64))
        if self._every:
            self._opened(body, footer[:: self._every], cid, usable)
        return footer

    def _agreed(self, body: memoryview, footer: Footer, cid: int, start: int, key_ids: NDArray[np.uint64]) -> None:
        """Records and footer say the same, each begins where the one before ends, and nothing is out of bounds."""
        offsets, stored = footer["offset"].astype(np.int64), footer["stored_len"].astype(np.int64)
        ends = offsets + (HEADER_BYTES + stored + 7) // 8 * 8
        expected = np.concatenate([np.array([start], np.int64), ends])
        if not len(footer) or (offsets != expected[:-1]).any() or expected[-1] != len(body):
            raise ContainerCorrupt(
                f"{cid_text(cid)}: its {len(footer)} records do not fill it from {start} to its footer"
            )
        encrypted = int(self._terms.parameters.encrypted)
        most = 2 * self._terms.parameters.average_chunk_bytes
        plain = footer["plain_len"].astype(np.int64)
        good = (footer["type"] == Type.CHUNK) & (footer["codec"] <= Codec.ZSTD) & (footer["seal"] == encrypted)
        good &= (footer["flags"] == 0) & (plain >= 1) & (plain <= most) & (stored > TAG_BYTES)
        good &= stored <= plain + TAG_BYTES  # what does not shrink is stored raw
        good &= (footer["codec"] != Codec.RAW) | (stored == plain + TAG_BYTES)
        headers = headers_at(np.frombuffer(body, np.uint8), offsets)
        for name in ("type", "codec", "seal", "flags", "plain_len", "stored_len"):
            good &= headers[name] == footer[name]
        good &= (headers["magic"] == MAGIC) & np.isin(headers["key_id"], key_ids)
        good &= (headers["fingerprint"] == footer["fingerprint"]).all(axis=1)
        if not good.all():
            at = int(offsets[np.flatnonzero(~good)[0]])
            raise RecordCorrupt(f"{Where(cid, at)}: not a chunk as this pool keeps them, or not what the footer says")

    def _opened(self, body: memoryview, footer: Footer, cid: int, key_by_id: Mapping[int, SealingKey]) -> None:
        if self._arena is None:
            self._arena = np.empty(_ARENA_BYTES, np.uint8)
        view = memoryview(self._arena)
        headers = headers_at(np.frombuffer(body, np.uint8), footer["offset"].astype(np.int64))
        raw, key_ids = headers.tobytes(), headers["key_id"].tolist()
        lengths, stored, codecs = (footer[name].tolist() for name in ("plain_len", "stored_len", "codec"))
        starts = np.empty(len(footer), np.uint32)
        first = end = 0
        for row, offset in enumerate(footer["offset"].tolist()):
            if end + lengths[row] > _ARENA_BYTES:
                self._compared(footer[first:row], starts[first:row], cid)
                first, end = row, 0
            header = raw[row * HEADER_BYTES : (row + 1) * HEADER_BYTES]
            payload = body[offset + HEADER_BYTES : offset + HEADER_BYTES + stored[row]]
            out = view[end : end + lengths[row]]
            key = key_by_id[key_ids[row]]
            if not open_checked(header, codecs[row], payload, key, self._decompressor, self._scratch, out):
                where, sealed = Where(cid, offset), self._terms.parameters.encrypted
                read_record(body[offset:], where, key_by_id.get, self._decompressor, sealed_pool=sealed)
                raise RecordCorrupt(f"{where}: does not open")
            starts[row] = end
            end += lengths[row]
        self._compared(footer[first:], starts[first:], cid)

    def _compared(self, footer: Footer, starts: NDArray[np.uint32], cid: int) -> None:
        assert self._arena is not None
        found = np.empty((len(footer), 32), np.uint8)
        self._fingerprinter.batch(self._arena, starts, np.ascontiguousarray(footer["plain_len"]), found)
        wrong = np.flatnonzero((found != footer["fingerprint"]).any(axis=1))
        if len(wrong):
            where = Where(cid, int(footer["offset"][wrong[0]]))
            raise RecordCorrupt(f"{where}: plain bytes are not what their fingerprint says")
