"""A support bundle: what somebody needs who helps from afar, and no secret.

Keys, tokens and certificates' keys are not collected; what looks like one in a log or in settings is struck out all the
same, because a bundle is sent to others.
"""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingot.faults import BundleExists
from ingot.rest import Rest
from runtime.faults import Fault

_LOG_BYTES = 5 << 20  # the end of each log
_JOBS = 500
_STRUCK = b"(struck out)"
_SECRETS = re.compile(  # every repetition is bounded or anchored: logs are long
    rb"(?<![\w-])ingot_[A-Za-z0-9-]{1,64}_[A-Za-z0-9_-]{16,128}"  # tokens
    rb"|(?<![\w-])[\w-]{1,64}\.[\w-]{16,128}\.[0-9a-f]{64}"  # join tokens
    rb"|-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----.{1,8000}?-----END [A-Z ]{0,20}PRIVATE KEY-----"
    rb"|(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])"  # key files, and whatever else has their form
    rb"|(?i:AWS_[A-Z_]{1,40}|(?:password|passphrase|secret)\w{0,40})\"?\s{0,4}[=:]\s{0,4}(?:\"[^\"\n]{0,4000}\"|\S{1,200})",
    re.DOTALL,
)


@dataclass(frozen=True)
class Part:
    """A file of the bundle."""

    name: str
    body: bytes


def struck(body: bytes) -> bytes:
    """Without what looks like a secret."""
    return _SECRETS.sub(_STRUCK, body)


def parts(state: Path, diagnosis: dict[str, Any], rest: Rest | None) -> Iterator[Part]:
    """What goes into a bundle: settings and logs below `state`, `diagnosis`, and what the CommServe knows."""
    yield _document("doctor.json", diagnosis)
    for path in sorted(state.glob("*.toml")):
        yield Part(f"settings/{path.name}", path.read_bytes())
    for path in sorted((state / "logs").glob("*.log")):
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LOG_BYTES))
            yield Part(f"logs/{path.name}", file.read())
    if rest is not None:
        for name in ("agents", "hypervisors", "pools", "plans", "rules"):
            yield _asked(name, lambda name=name: list(rest.all(f"/{name}")))  # type: ignore[misc]
        yield _asked("jobs", lambda: rest.get("/jobs", limit=_JOBS)["items"])


def _asked(name: str, ask: Callable[[], Any]) -> Part:
    """What does not answer is told in its place: the rest of the bundle is worth having."""
    try:
        return _document(f"commserve/{name}.json", ask())
    except Fault as fault:
        return _document(f"commserve/{name}.json", {"fault": fault.code, "message": str(fault)})


def _document(name: str, value: Any) -> Part:
    return Part(name, json.dumps(value, indent=1).encode())


def write_bundle(path: Path, found: Iterator[Part], at_unix: int) -> int:
    """A gzipped tar at `path`, readable by its owner; the number of files. Raises BundleExists."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BundleExists(f"{path}: cannot be made: {error.strerror}") from error
    count = 0
    with os.fdopen(fd, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as bundle:
        for part in found:
            body = struck(part.body)
            member = tarfile.TarInfo(f"ingot-support/{part.name}")
            member.size, member.mtime, member.mode = len(body), at_unix, 0o600
            bundle.addfile(member, io.BytesIO(body))
            count += 1
    return count
