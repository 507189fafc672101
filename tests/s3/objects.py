"""What a bucket of our own server holds: versions of objects, under one lock."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Version:
    """One version of an object; a marker says that it was deleted."""

    number: int
    body: bytes
    is_marker: bool = False
    storage_class: str = "STANDARD"

    @property
    def id(self) -> str:
        return f"v{self.number}"


@dataclass
class Bucket:
    """Objects by key, their newest version last."""

    keeps_versions: bool = False
    takes_conditions: bool = True
    versions: dict[str, list[Version]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    counter: int = 0

    def put(self, key: str, body: bytes, storage_class: str = "STANDARD", *, if_absent: bool) -> Version | None:
        """The new version; None when the name is taken, and that was asked for."""
        with self.lock:
            there = self.versions.get(key, [])
            if if_absent and self.takes_conditions and there and not there[-1].is_marker:
                return None
            return self._add(key, Version(self._next(), body, storage_class=storage_class))

    def get(self, key: str, version: str = "") -> Version | None:
        """The newest version, or the one that is named; None where that is not there, or a marker."""
        with self.lock:
            there = self.versions.get(key, [])
            found = next((v for v in there if v.id == version), None) if version else (there[-1] if there else None)
            return None if found is None or found.is_marker else found

    def delete(self, key: str, version: str = "") -> None:
        with self.lock:
            if version:
                left = [v for v in self.versions.get(key, []) if v.id != version]
                self.versions[key] = left
                if left:
                    return
            elif self.keeps_versions:
                self._add(key, Version(self._next(), b"", is_marker=True))
                return
            self.versions.pop(key, None)

    def rows(self, prefix: str) -> list[tuple[str, Version]]:
        """Every version of every key with the prefix: by key, the newest first."""
        with self.lock:
            keys = sorted(key for key in self.versions if key.startswith(prefix))
            return [(key, version) for key in keys for version in reversed(self.versions[key])]

    def _add(self, key: str, version: Version) -> Version:
        self.versions[key] = [*(self.versions.get(key, []) if self.keeps_versions else []), version]
        return version

    def _next(self) -> int:
        self.counter += 1
        return self.counter
