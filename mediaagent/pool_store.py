"""What a MediaAgent keeps of the pools that it serves: under its state directory, readable by nobody else.

    pools/<place>/pool.key     the key file; there before the repository is, so that no crash leaves one without
    pools/<place>/pool.json    name and URL; there when the repository is
    index/<repository>/        its dedup database

<place> is a digest of the URL: a creation that was interrupted finds its own key again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from media.faults import RepositoryExists, RepositoryMissing
from media.key_slots import KeyFile, NoSecret, Secret
from media.pool import AVERAGE_CHUNK_BYTES, AVERAGES_BYTES, Parameters, Pool, create_pool, open_pool
from media.repository.locate import open_place
from mediaagent.faults import PoolUnfit
from runtime.certificates import write_private
from runtime.clock import Clock

_KEY, _ENTRY = "pool.key", "pool.json"


@dataclass(frozen=True)
class KeptPool:
    """A pool that is to be served. Without a key file it is not encrypted."""

    name: str
    url: str
    key_file: Path | None

    def open(self) -> Pool:
        """Raises PoolUnfit, RepositoryFault, KeyFault."""
        return open_pool(open_place(self.url), self.secret())

    def secret(self) -> Secret:
        """What opens it. Raises PoolUnfit, KeyUnfit."""
        if self.key_file is None:
            return NoSecret()
        try:
            return KeyFile(self.key_file.read_text())
        except (OSError, UnicodeDecodeError) as error:
            raise PoolUnfit(f"{self.key_file}: expected the key of pool {self.name}: {error}") from error


class PoolStore:
    """Made by one thread at a time."""

    def __init__(self, state: Path, clock: Clock) -> None:
        self._pools = state / "pools"
        self._indexes = state / "index"
        self._clock = clock

    def index_of(self, pool: Pool) -> Path:
        """The directory of a pool's index."""
        return self._indexes / str(pool.id)

    def kept(self) -> list[KeptPool]:
        """Every pool that was created here. Raises PoolUnfit."""
        return [_read(entry) for entry in sorted(self._pools.glob(f"*/{_ENTRY}"))]

    def create(self, name: str, url: str, average_chunk_bytes: int, *, encrypted: bool) -> tuple[KeptPool, Pool]:
        """Make a repository in an empty place, and keep its key; what an earlier try of ours made is taken.

        Raises RepositoryExists, RepositoryFault, PoolUnfit.
        """
        if average_chunk_bytes and average_chunk_bytes not in AVERAGES_BYTES:
            sizes = ", ".join(str(each) for each in AVERAGES_BYTES)
            raise PoolUnfit(f"pool {name}: chunks of {average_chunk_bytes} bytes, expected one of {sizes}")
        directory = self._pools / hashlib.sha256(url.encode()).hexdigest()[:16]
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = directory / _KEY
        if encrypted and not key.exists():
            write_private(key, KeyFile.generate().encode())
        kept = KeptPool(name, url, key if encrypted else None)
        parameters = Parameters(average_chunk_bytes or AVERAGE_CHUNK_BYTES, encrypted=encrypted)
        pool = self._made(kept, parameters)
        entry = {"encrypted": encrypted, "name": name, "url": url}
        write_private(directory / _ENTRY, json.dumps(entry, indent=1, sort_keys=True).encode())
        return kept, pool

    def _made(self, kept: KeptPool, parameters: Parameters) -> Pool:
        try:
            return create_pool(open_place(kept.url), kept.secret(), parameters, self._clock)
        except RepositoryExists:
            if not parameters.encrypted:
                raise  # anybody's: no key tells whose it is
            try:
                return kept.open()
            except RepositoryMissing:
                raise RepositoryExists(f"{kept.url}: expected an empty place") from None


def _read(path: Path) -> KeptPool:
    try:
        entry = json.loads(path.read_text())
        key = path.with_name(_KEY) if entry["encrypted"] else None
        return KeptPool(str(entry["name"]), str(entry["url"]), key)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PoolUnfit(f"{path}: expected what creating a pool left, found something else: {error!r}") from error
