"""govmomi's simulated vCenter as a process, built once into the cache directory."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType

import pytest

from tests.s3.certificates import write_certificate

_SOURCES = Path(__file__).parent
USER, PASSWORD = "ingot@vsphere.local", "a password & more"


def build() -> Path:
    """The program; made where its sources changed. Skips without a Go compiler, fails in CI."""
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin:/usr/lib/go/bin")
    if go is None:
        if os.environ.get("CI"):
            pytest.fail("vcsim needs a Go compiler")
        pytest.skip("vcsim needs a Go compiler")
    named = hashlib.sha256(b"".join((_SOURCES / name).read_bytes() for name in ("main.go", "go.mod", "go.sum")))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ingot-tests"
    cache.mkdir(parents=True, exist_ok=True)
    program = cache / f"vcsim-{named.hexdigest()[:16]}"
    with (cache / "vcsim.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            made = program.with_suffix(".new")
            environment = {**os.environ, "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "auto"}
            command = [go, "build", "-buildvcs=false", "-o", str(made), "."]
            subprocess.run(command, cwd=_SOURCES, check=True, env=environment, capture_output=True)
            made.rename(program)
    return program


class Vcsim:
    """Serves from the moment it is made until it is closed."""

    def __init__(self, directory: Path, *options: str, user: str = USER, password: str = PASSWORD) -> None:
        """`options` are the program's own: `-vm 100`."""
        program = build()
        directory.mkdir(exist_ok=True)
        self.certificate, pair = write_certificate(directory)
        secret = directory / "password"
        secret.write_text(password)
        self.user, self.password = user, password
        command = [program, "-certificate", pair, "-key", pair, "-user", user, "-password", secret, *options]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()
        assert self.address, "vcsim ended before it served"

    def close(self) -> None:
        """Its standard input ends, so it does."""
        self._process.communicate()

    def __enter__(self) -> Vcsim:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
