"""Database disks: a real PostgreSQL in a real ext4, filled and used by its own `pgbench`.

The server runs as the user `nobody` on a socket in a temporary folder and listens nowhere else; its data lie in the
mounted image. Needs root and the programs of PostgreSQL's server. Seeds are fixed; file times and the
database's own ids are not, so two makings differ in a few bytes a page.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench import content
from bench.changes import copy_sparse
from bench.run import run, say
from bench.system_image import mounted

USER = "nobody"
SETTINGS = (
    "listen_addresses=",
    "shared_buffers=128MB",
    "max_wal_size=128MB",
    "min_wal_size=80MB",
    "synchronous_commit=off",  # only how fast it is made: checkpoints and the clean stop sync everything
    "dynamic_shared_memory_type=mmap",
)
DAY_TRANSACTION_COUNT = 2500  # of each of two clients: about a tenth of the accounts' pages
DAY_TEXT_BYTES = 8 << 20


@dataclass(frozen=True)
class Database:
    """`scale` is pgbench's: 15 MB of tables and indexes each."""

    seed: int
    scale: int
    text_bytes: int

    @property
    def how(self) -> str:
        return f"PostgreSQL, pgbench's tables at scale {self.scale}, {self.text_bytes >> 20} MiB of indexed text; ext4"


FIRST = Database(seed=11, scale=28, text_bytes=192 << 20)
OTHER = Database(seed=12, scale=14, text_bytes=256 << 20)


def make(database: Database, image: Path, size_bytes: int) -> None:
    """Write an ext4 of `size_bytes` that holds the database, stopped cleanly; it appears only when complete."""
    part = image.with_suffix(".part")
    rng = np.random.default_rng(database.seed)
    try:
        with part.open("wb") as file:
            file.truncate(size_bytes)
        run(("mke2fs", "-q", "-t", "ext4", part))
        with mounted(part) as root, tempfile.TemporaryDirectory(prefix="bench-pg-") as folder:
            data = root / "main"
            data.mkdir()
            for owned in (data, Path(folder)):
                run(("chown", USER, owned))
            _as_user(_program("initdb"), "--no-sync", "--auth=trust", "--username=bench", "-D", data)
            with _serving(data, folder):
                say(f"postgresql: filling at scale {database.scale}")
                _as_user(_program("pgbench"), "-i", "-q", "-s", str(database.scale), *_where(folder))
                _query(folder, "CREATE TABLE documents (body text)")
                _add_text(folder, content.text(rng, database.text_bytes))
                _query(folder, "CREATE INDEX ON documents (left(body, 24))")
                _query(folder, "VACUUM ANALYZE")
        part.rename(image)
    finally:
        part.unlink(missing_ok=True)


def make_next_day(before: Path, image: Path, seed: int = 13) -> None:
    """Write what a day makes of `before`."""
    part = image.with_suffix(".part")
    try:
        copy_sparse(before, part)
        with mounted(part) as root, tempfile.TemporaryDirectory(prefix="bench-pg-") as folder:
            run(("chown", USER, folder))
            with _serving(root / "main", folder):
                say("postgresql: a day of transactions")
                how = ("-n", "-c", "2", "-t", str(DAY_TRANSACTION_COUNT), f"--random-seed={seed}")
                _as_user(_program("pgbench"), *how, *_where(folder))
                _query(folder, "DELETE FROM documents WHERE ctid IN (SELECT ctid FROM documents LIMIT 20000)")
                _add_text(folder, content.text(np.random.default_rng(seed), DAY_TEXT_BYTES))
                _query(folder, "VACUUM ANALYZE")
        part.rename(image)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _serving(data: Path, folder: str) -> Iterator[None]:
    """A server on the data, stopped cleanly in the end."""
    options = " ".join(f"-c {setting}" for setting in (*SETTINGS, f"unix_socket_directories={folder}"))
    control = (_program("pg_ctl"), "-D", data, "-s", "-w", "-t", "600", "-l", Path(folder) / "log")
    _as_user(*control, "-o", options, "start")
    try:
        yield
    finally:
        _as_user(*control, "-m", "fast", "stop")


def _add_text(folder: str, text: bytes) -> None:
    """Rows of text: its lines."""
    _as_user(_program("psql"), *_where(folder), "-q", "-c", "\\copy documents from pstdin", stdin=text)


def _query(folder: str, statement: str) -> None:
    _as_user(_program("psql"), *_where(folder), "-q", "-v", "ON_ERROR_STOP=1", "-c", statement)


def _where(folder: str) -> tuple[str, ...]:
    return "-h", folder, "-U", "bench", "postgres"


def _program(name: str) -> Path:
    """Distributions keep the server's programs beside the PATH; pg_config knows where."""
    return Path(run(("pg_config", "--bindir")).strip()) / name


def _as_user(*command: str | Path, stdin: bytes | None = None) -> None:
    run(("runuser", "-u", USER, "--", *command), stdin=stdin)
