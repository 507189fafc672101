"""Keys and values of the index, byte by byte. Another layout is another `SCHEMA`: the index is rebuilt, not converted.

    fp     first 16 bytes of the fingerprint      -> cid u64 | slot u32 | bytes 16-17 of the fingerprint
    cont   cid u64, big-endian: in order of cid   -> slots u32 | state u8 | 3 zero bytes
    meta   `identity`                             -> the text of ddb.json (environment.py)
           `generation`, `forgettings`            -> u64

Little-endian but for the key of `cont`. Plain keys of half a fingerprint cost 60 bytes each, and 2^64 chunks would have
to be stored before two are likely to share one. The two bytes of fingerprint in the value turn 65 535 of 65 536 damaged
or colliding rows into misses; W9 refuses the others. A forgotten container keeps its row, as gone: the keys that point
to it are not looked for, but ignored when met and replaced when their chunk is stored again.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from media.known_chunks import Fingerprints

SCHEMA = 1
KEY_BYTES = 16
PLACE = np.dtype([("cid", "<u8"), ("slot", "<u4"), ("tail", "<u2")])
MISS = bytes(PLACE.itemsize)

RECORDED = 1
GONE = 2
_CONTAINER = struct.Struct("<IB3x")
_CONTAINERS = np.dtype([("cid", ">u8"), ("slots", "<u4"), ("state", "u1"), ("zero", "V3")])


def fingerprint_keys(fingerprints: Fingerprints) -> list[bytes]:
    """The key of each fingerprint."""
    keys: list[Any] = np.ascontiguousarray(fingerprints[:, :KEY_BYTES]).view(f"V{KEY_BYTES}").ravel().tolist()
    return keys


def fingerprint_tails(fingerprints: Fingerprints) -> NDArray[np.uint16]:
    """What of each fingerprint the value repeats."""
    return np.ascontiguousarray(fingerprints[:, KEY_BYTES : KEY_BYTES + 2]).view("<u2").ravel()


def place_rows(cid: int, fingerprints: Fingerprints) -> list[bytes]:
    """The value of each fingerprint: slot i of `cid`."""
    places = np.empty(len(fingerprints), PLACE)
    places["cid"] = cid
    places["slot"] = np.arange(len(fingerprints))
    places["tail"] = fingerprint_tails(fingerprints)
    rows: list[Any] = places.view(f"V{PLACE.itemsize}").tolist()
    return rows


def container_key(cid: int) -> bytes:
    """The key of a container."""
    return cid.to_bytes(8, "big")


def container_row(slots: int, state: int) -> bytes:
    """The value of a container."""
    return _CONTAINER.pack(slots, state)


def containers_in(pairs: list[tuple[bytes, bytes]], state: int) -> NDArray[np.uint64]:
    """The containers of a state among rows of `cont`, in their order. Raises ValueError for rows that are none."""
    content = b"".join(key + value for key, value in pairs)
    if len(content) != len(pairs) * _CONTAINERS.itemsize:
        raise ValueError(f"{len(pairs)} containers in {len(content)} bytes")
    rows = np.frombuffer(content, _CONTAINERS)
    cids: NDArray[np.uint64] = rows["cid"][rows["state"] == state].astype(np.uint64)
    return cids
