"""Numbers and names of what lies on media (docs/format.md, section 1).

A session number `sid` has 40 bits, a container number `cid` is `sid << 24 | seq`. Numbers in names are fixed-width
hexadecimal, so a listing is in numeric order. cid 0 never exists: it means "no place".
"""

from __future__ import annotations

import re
from typing import NamedTuple

NO_CID = 0
MAX_SID = (1 << 40) - 1
MAX_SEQ = (1 << 24) - 1

CONFIG = "ingot.json"
KEYS = "keys/"
CONTAINERS = "c/"
SESSIONS = "sess/"
REGISTERS = "rp/"
DETAILS = "rpd/"
MARKS = "rpm/"
EXPIRIES = "rpx/"
CONDEMNATIONS = "condemn/"
RELOCATIONS = "reloc/"
RESTORE = "RESTORE/"
PROBES = "probe-"

_CONTAINER = re.compile(r"c/([0-9a-f]{10})/([0-9a-f]{6})")
_SID = re.compile(r"[0-9a-f]{10}")


def cid_of(sid: int, seq: int) -> int:
    """The number of the container `seq` of session `sid`."""
    assert 0 < sid <= MAX_SID, sid
    assert 0 <= seq <= MAX_SEQ, seq
    return sid << 24 | seq


def sid_of(cid: int) -> int:
    """The session that wrote container `cid`."""
    return cid >> 24


def sid_text(sid: int) -> str:
    """How a session, and the recovery point it committed, is written: ten digits."""
    return f"{sid:010x}"


def cid_text(cid: int) -> str:
    """How a container is named to people: `c-<sid>.<seq>` without leading zeros."""
    return f"c-{cid >> 24:x}.{cid & MAX_SEQ:x}"


class Where(NamedTuple):
    """An offset in a container, for messages; made for every record, so it becomes text only when a message is."""

    cid: int
    offset: int

    def __str__(self) -> str:
        return f"{cid_text(self.cid)} at {self.offset}"


def container_name(cid: int) -> str:
    """Object name of container `cid`."""
    return f"{CONTAINERS}{cid >> 24:010x}/{cid & MAX_SEQ:06x}"


def cid_of_name(name: str) -> int | None:
    """The container that `name` names; None when it is no container's name."""
    match = _CONTAINER.fullmatch(name)
    return cid_of(int(match[1], 16), int(match[2], 16)) if match and int(match[1], 16) else None


def sid_of_name(name: str, prefix: str) -> int | None:
    """The session in `prefix<sid>`; None for other names (heartbeats, foreign files)."""
    digits = name.removeprefix(prefix)
    return int(digits, 16) if name.startswith(prefix) and _SID.fullmatch(digits) else None


def session_name(sid: int) -> str:
    """Object name of a session's claim."""
    return SESSIONS + sid_text(sid)


def heartbeat_name(sid: int, n: int) -> str:
    """Object name of a session's n-th heartbeat, n from 1."""
    return f"{SESSIONS}{sid_text(sid)}.{n}"


def register_name(sid: int) -> str:
    """Object name of the one-shot register that says how a session ended."""
    return REGISTERS + sid_text(sid)


def detail_name(sid: int) -> str:
    """Object name of a recovery point's detail."""
    return DETAILS + sid_text(sid)


def mark_name(sid: int, seq: int) -> str:
    """Object name of a mark on a recovery point."""
    return f"{MARKS}{sid_text(sid)}/{seq:06x}"


def expiry_name(sid: int) -> str:
    """Object name of a recovery point's expiry."""
    return EXPIRIES + sid_text(sid)


def slot_name(nonce: bytes) -> str:
    """Object name of a key slot."""
    return KEYS + nonce.hex()
