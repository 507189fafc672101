"""Which files of a restore are finished, in lines beside them, so that another attempt of the same job leaves them be.

    .restore-<job>.finished      {"name": "disk-0.raw", "inode": 1234, "size": 870100, "lost": [[0, 512, code, words]]}

A line is appended before the file gets its name, and names its inode, which stays: a file that has name, inode and size
is the one that was finished, whenever the job was interrupted. What is torn, or of another file, says nothing.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from media.extents import Extent
from media.reader import Lost, Outcome
from vsa.restore.remote_disk import damage


class Finished:
    """Of one job in one directory."""

    def __init__(self, directory: Path, job: str) -> None:
        self._directory = directory
        self._path = directory / f".restore-{job}.finished"

    def outcome(self, name: str) -> Outcome | None:
        """Of the file of this name, where the job finished it."""
        try:
            found = (self._directory / name).lstat()
            lines = self._path.read_text(errors="replace").splitlines()
        except OSError:
            return None
        for line in lines:
            try:
                said = json.loads(line)
                if (said["name"], said["inode"], said["size"]) == (name, found.st_ino, found.st_size):
                    lost = [Lost(Extent(at, length), damage(code, words)) for at, length, code, words in said["lost"]]
                    return Outcome(kept_bytes=found.st_size, lost=lost)
            except (ValueError, KeyError, TypeError):
                continue
        return None

    def note(self, name: str, partial: os.stat_result, outcome: Outcome) -> None:
        """The file is about to get its name; it is whole. Raises OSError."""
        lost = [[*each.extent, each.fault.code, str(each.fault)] for each in outcome.lost]
        line = {"name": name, "inode": partial.st_ino, "size": partial.st_size, "lost": lost}
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def remove(self) -> None:
        """The job is done. Raises OSError."""
        self._path.unlink(missing_ok=True)
