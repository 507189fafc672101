"""Pages: the nodes of a disk's tree (docs/format.md, section 6).

A page's fingerprint covers what it says and not where things lie, so moving a chunk changes no page. Arrays in,
arrays out.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import struct
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from media.faults import PageCorrupt
from media.known_chunks import Fingerprints, Places

FANOUT = 256
_HEAD = struct.Struct("<IIQ")
HEAD_BYTES = _HEAD.size
_PLACES = struct.Struct("<II")

U32 = NDArray[np.uint32]


class PageRef(NamedTuple):
    """Where a page is and what it says: its fingerprint, and its place."""

    fingerprint: bytes
    cid: int
    slot: int


@dataclass(frozen=True)
class Leaf:
    """The chunks of one segment: n offsets in the segment, lengths, fingerprints (n, 32), places."""

    index: int
    offsets: U32
    lengths: U32
    fingerprints: Fingerprints
    places: Places

    level = 0

    def covered(self) -> bytes:
        """What the fingerprint covers."""
        n = len(self.offsets)
        return b"".join(
            (
                _HEAD.pack(0, n, self.index),
                self.offsets.astype("<u4").tobytes(),
                self.lengths.astype("<u4").tobytes(),
                self.fingerprints.tobytes(),
            )
        )

    def says_the_same(self, other: Leaf) -> bool:
        """Equal chunks, wherever they lie."""
        return (
            np.array_equal(self.offsets, other.offsets)
            and np.array_equal(self.lengths, other.lengths)
            and np.array_equal(self.fingerprints, other.fingerprints)
        )


@dataclass(frozen=True)
class Interior:
    """Up to 256 children: their numbers, page fingerprints (n, 32), places."""

    level: int
    index: int
    children: U32
    fingerprints: Fingerprints
    places: Places

    def covered(self) -> bytes:
        """What the fingerprint covers."""
        n = len(self.children)
        head = _HEAD.pack(self.level, n, self.index)
        content = self.children.astype("<u4").tobytes() + self.fingerprints.tobytes()
        return head + content + bytes(-len(content) % 8)

    @functools.cached_property
    def refs(self) -> dict[int, PageRef]:
        """Child number, ascending -> where it is. Not to be changed."""
        return {
            child: PageRef(bytes(self.fingerprints[i]), int(self.places.cids[i]), int(self.places.slots[i]))
            for i, child in enumerate(self.children.tolist())
        }

    @staticmethod
    def of(level: int, index: int, refs: dict[int, PageRef]) -> Interior:
        """The page with these children."""
        numbers = sorted(refs)
        chosen = [refs[number] for number in numbers]
        return Interior(
            level,
            index,
            np.array(numbers, np.uint32),
            np.frombuffer(b"".join(ref.fingerprint for ref in chosen), np.uint8).reshape(-1, 32),
            Places(np.array([r.cid for r in chosen], np.uint64), np.array([r.slot for r in chosen], np.uint32)),
        )


Page = Leaf | Interior


def fingerprint_of(page_key: bytes, covered: bytes) -> bytes:
    """A page's name."""
    return hmac.digest(page_key, covered, hashlib.sha256)


def encode(page: Page) -> tuple[bytes, bytes]:
    """The covered part and the places; a page's plain bytes are the one and then the other."""
    cids, which = np.unique(page.places.cids, return_inverse=True)
    places = b"".join(
        (
            _PLACES.pack(len(cids), 0),
            cids.astype("<u8").tobytes(),
            which.astype("<u4").tobytes(),
            page.places.slots.astype("<u4").tobytes(),
        )
    )
    return page.covered(), places


def decode(plain: bytes, ref: PageRef, page_key: bytes, level: int, index: int, where: str) -> Page:
    """The page in `plain`, which must be what `ref` refers to, at this level and index.

    Raises PageCorrupt, which names `where`.
    """
    page, covered_len = _decode_shape(plain, where)
    if (page.level, page.index) != (level, index):
        raise PageCorrupt(f"{where}: page of level {page.level}, index {page.index}; expected {level}, {index}")
    if fingerprint_of(page_key, plain[:covered_len]) != ref.fingerprint:
        raise PageCorrupt(f"{where}: not the page {ref.fingerprint.hex()[:16]} that is referred to")
    if not page.places.cids.all():
        raise PageCorrupt(f"{where}: page refers to container 0, which never exists")
    return page


def decode_leaf(plain: bytes, where: str) -> Leaf:
    """The leaf page in `plain`, whoever says so; places may be misses. Raises PageCorrupt, which names `where`."""
    page, _ = _decode_shape(plain, where)
    if not isinstance(page, Leaf):
        raise PageCorrupt(f"{where}: page of level {page.level}, expected a leaf")
    return page


def places_start(plain: bytes) -> int:
    """Where in a page's plain bytes the places begin, which its fingerprint does not cover."""
    level, n, _ = _HEAD.unpack_from(plain)
    return int(_HEAD.size + -(-n * (40 if level == 0 else 36) // 8) * 8)


def _decode_shape(plain: bytes, where: str) -> tuple[Page, int]:
    if len(plain) < _HEAD.size:
        raise PageCorrupt(f"{where}: page of {len(plain)} bytes, expected at least {_HEAD.size}")
    level, n, index = _HEAD.unpack_from(plain)
    covered_len = places_start(plain)
    if len(plain) < covered_len + _PLACES.size:
        raise PageCorrupt(
            f"{where}: page of {len(plain)} bytes with {n} entries, expected at least {covered_len + _PLACES.size}"
        )
    m, _ = _PLACES.unpack_from(plain, covered_len)
    if len(plain) != covered_len + _PLACES.size + 8 * m + 8 * n:
        raise PageCorrupt(f"{where}: page of {len(plain)} bytes, expected {covered_len + _PLACES.size + 8 * m + 8 * n}")
    position = covered_len + _PLACES.size
    cids = np.frombuffer(plain, "<u8", m, position)
    which = np.frombuffer(plain, "<u4", n, position + 8 * m)
    slots = np.frombuffer(plain, "<u4", n, position + 8 * m + 4 * n)
    if n and (m == 0 or int(which.max()) >= m):
        raise PageCorrupt(f"{where}: page refers to container {which.max() if n else 0} of {m}")
    places = Places(cids[which], slots)
    firsts = np.frombuffer(plain, "<u4", n, _HEAD.size)
    if level == 0:
        lengths = np.frombuffer(plain, "<u4", n, _HEAD.size + 4 * n)
        fingerprints = np.frombuffer(plain, np.uint8, 32 * n, _HEAD.size + 8 * n).reshape(n, 32)
        ends = firsts.astype(np.uint64) + lengths
        if n and (not lengths.all() or (ends[:-1] > firsts[1:]).any()):
            raise PageCorrupt(f"{where}: chunks of a leaf page overlap or are empty")
        return Leaf(index, firsts, lengths, fingerprints, places), covered_len
    fingerprints = np.frombuffer(plain, np.uint8, 32 * n, _HEAD.size + 4 * n).reshape(n, 32)
    if n and (int(firsts.max()) >= FANOUT or (firsts[1:] <= firsts[:-1]).any()):
        raise PageCorrupt(f"{where}: children of an interior page are not ascending below {FANOUT}")
    return Interior(level, index, firsts, fingerprints, places), covered_len
