"""A file system whose syncs do nothing: for tests that lose processes, but no power. Hundreds of syncs are seconds."""

from __future__ import annotations

from pathlib import Path

from media.repository.local import LocalRepository
from media.repository.posix import RealPosix


class UnsyncedPosix(RealPosix):
    """The kernel's, all but its syncs."""

    def fsync(self, fd: int) -> None:
        """Nothing."""

    def fsync_directory(self, path: Path) -> None:
        """Nothing, in a directory that is there."""
        if not path.is_dir():
            raise FileNotFoundError(2, "No such file or directory", str(path))


def unsynced(root: Path) -> LocalRepository:
    """A repository in a directory."""
    return LocalRepository(root, UnsyncedPosix())
