"""Container footers on the local disk: what W9 confirms places with, without a request each.

    footers/<sid>/<seq>   the footer | XXH3-128 of (repository UUID | cid u64 | the footer), canonical order, 16 bytes

A cache: nothing is fsynced, nothing raises, and what is torn, flipped or another container's is a miss. A footer never
changes, so two processes that write one file write the same bytes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path

import xxhash

from media.ids import MAX_SEQ, sid_of, sid_text

_CHECK_BYTES = 16


class FooterCache:
    """Footers of one repository under one directory. Safe to use from several threads and processes.

    `note(sid)` is asked before anything of a session is kept: False keeps nothing.
    """

    def __init__(self, directory: Path, repository_uuid: bytes, note: Callable[[int], bool]) -> None:
        self._directory = directory / "footers"
        self._note = note
        self._repository_uuid = repository_uuid

    def get(self, cid: int) -> bytes | None:
        """The footer as it was put; None when it is not here or not whole."""
        try:
            content = self._path(cid).read_bytes()
        except OSError:
            return None
        footer, check = content[:-_CHECK_BYTES], content[-_CHECK_BYTES:]
        return footer if check == self._check(cid, footer) else None

    def put(self, cid: int, footer: bytes) -> None:
        """Keep the footer of a container that is durable."""
        if not self._note(sid_of(cid)):
            return
        path = self._path(cid)
        temporary = path.with_suffix(".tmp")
        with contextlib.suppress(OSError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary.write_bytes(footer + self._check(cid, footer))
            temporary.replace(path)

    def forget(self, cids: Iterable[int]) -> None:
        """These containers are gone."""
        for cid in cids:
            path = self._path(cid)
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
                path.parent.rmdir()  # when it was the session's last

    def _path(self, cid: int) -> Path:
        return self._directory / sid_text(sid_of(cid)) / f"{cid & MAX_SEQ:06x}"

    def _check(self, cid: int, footer: bytes) -> bytes:
        return xxhash.xxh3_128_digest(self._repository_uuid + cid.to_bytes(8, "little") + footer)
