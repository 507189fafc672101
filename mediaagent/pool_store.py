"""What a MediaAgent keeps of the pools that it serves: under its state directory, readable by nobody else.

    pools/<place>/pool.key     the key file; there before the repository is, so that no crash leaves one without
    pools/<place>/pool.json    name and URL; there when the repository is
    pools/<place>/s3.json      credentials that the CommServe gave, also of a pool that the settings list
    index/<repository>/        its dedup database

<place> is a digest of the URL: a creation that was interrupted finds its own key again.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from media.faults import ObjectMissing, RepositoryExists, RepositoryMissing
from media.ids import CONFIG
from media.key_slots import KeyFile, NoSecret, Secret
from media.pool import AVERAGE_CHUNK_BYTES, AVERAGES_BYTES, Parameters, Pool, create_pool, open_pool
from media.repository.locate import open_place, place_name
from media.repository.s3_credentials import Credentials, S3Credentials
from mediaagent.faults import PoolUnfit
from runtime.certificates import write_private
from runtime.clock import Clock

_KEY, _ENTRY, _CREDENTIALS = "pool.key", "pool.json", "s3.json"


@dataclass(frozen=True)
class KeptPool:
    """A pool that is to be served. Without a key file it is not encrypted.

    Where there is no file of credentials, those of this process's environment count.
    """

    name: str
    url: str
    key_file: Path | None
    credentials_file: Path

    def open(self) -> Pool:
        """Raises PoolUnfit, RepositoryFault, KeyFault."""
        return open_pool(open_place(self.url, credentials=self.credentials), self.secret())

    def credentials(self) -> S3Credentials | None:
        """Those that lie there now. Raises PoolUnfit."""
        try:
            return parse_credentials(self.credentials_file.read_text())
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise PoolUnfit(f"{self.credentials_file}: expected credentials of pool {self.name}: {error}") from error

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

    def listed(self, name: str, url: str, key_file: Path | None) -> KeptPool:
        """A pool of the settings. Raises RepositoryUrlUnknown."""
        return KeptPool(name, url, key_file, self._directory(url) / _CREDENTIALS)

    def keep_secret(self, url: str, secret: str) -> None:
        """From now on these are the credentials of the place, once it took them; else what was kept stays.

        Raises PoolUnfit, RepositoryFault.
        """
        credentials = parse_credentials(secret)
        with suppress(ObjectMissing):  # the pool is being made, elsewhere
            open_place(url, credentials=lambda: credentials).get(CONFIG)
        self._keep_credentials(self._made_directory(url), secret)

    def create(
        self, name: str, url: str, average_chunk_bytes: int, secret: str = "", *, encrypted: bool
    ) -> tuple[KeptPool, Pool]:
        """Make a repository in an empty place, and keep its key; what an earlier try of ours made is taken.

        `secret` are credentials, which are kept when the place took them. Raises RepositoryExists, RepositoryFault,
        PoolUnfit.
        """
        if average_chunk_bytes and average_chunk_bytes not in AVERAGES_BYTES:
            sizes = ", ".join(str(each) for each in AVERAGES_BYTES)
            raise PoolUnfit(f"pool {name}: chunks of {average_chunk_bytes} bytes, expected one of {sizes}")
        credentials = parse_credentials(secret) if secret else None
        directory = self._made_directory(url)
        key = directory / _KEY
        if encrypted and not key.exists():
            write_private(key, KeyFile.generate().encode())
        kept = KeptPool(name, url, key if encrypted else None, directory / _CREDENTIALS)
        parameters = Parameters(average_chunk_bytes or AVERAGE_CHUNK_BYTES, encrypted=encrypted)
        pool = self._made(kept, parameters, kept.credentials if credentials is None else lambda: credentials)
        if secret:
            self._keep_credentials(directory, secret)
        entry = {"encrypted": encrypted, "name": name, "url": url}
        write_private(directory / _ENTRY, json.dumps(entry, indent=1, sort_keys=True).encode())
        return kept, pool

    def _directory(self, url: str) -> Path:
        return self._pools / hashlib.sha256(place_name(url).encode()).hexdigest()[:16]

    def _made_directory(self, url: str) -> Path:
        directory = self._directory(url)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return directory

    def _keep_credentials(self, directory: Path, secret: str) -> None:
        write_private(directory / _CREDENTIALS, secret.encode())

    def _made(self, kept: KeptPool, parameters: Parameters, credentials: Credentials) -> Pool:
        place = open_place(kept.url, credentials=credentials)
        try:
            return create_pool(place, kept.secret(), parameters, self._clock)
        except RepositoryExists:
            if not parameters.encrypted:
                raise  # anybody's: no key tells whose it is
            try:
                return open_pool(place, kept.secret())
            except RepositoryMissing:
                raise RepositoryExists(f"{kept.url}: expected an empty place") from None


def _read(path: Path) -> KeptPool:
    try:
        entry = json.loads(path.read_text())
        key = path.with_name(_KEY) if entry["encrypted"] else None
        return KeptPool(str(entry["name"]), str(entry["url"]), key, path.with_name(_CREDENTIALS))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PoolUnfit(f"{path}: expected what creating a pool left, found something else: {error!r}") from error


def parse_credentials(text: str) -> S3Credentials:
    """Of `{"access_key_id": ..., "secret_access_key": ..., "session_token": ...}`; the last may be missing.

    Raises PoolUnfit, whose message holds nothing of them.
    """
    try:
        return S3Credentials(**json.loads(text))
    except (ValueError, TypeError):
        raise PoolUnfit("credentials: expected access_key_id, secret_access_key and maybe session_token") from None
