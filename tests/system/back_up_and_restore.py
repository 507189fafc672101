"""A process that backs up an image, or restores it, and tells the most memory that it took.

back_up_and_restore.py back-up REPOSITORY INDEX IMAGE
back_up_and_restore.py restore REPOSITORY INDEX IMAGE [AT-ONCE]

With AT-ONCE the repository is far away: it answers only when more and more runs are asked for at once, up to so many.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ingot.embedded import Repo, back_up, restore
from ingot.sources import Images
from media.container_reader import ContainerReader
from media.key_slots import KeyFile
from media.pool import Parameters, create_pool, open_pool
from media.recovery_point import list_points, read_point
from media.repository.local import LocalRepository
from runtime.clock import SystemClock
from tests.faults.scenario import Quiet
from tests.faults.unsynced_posix import UnsyncedPosix
from tests.media.fakes import Together

SECRET = KeyFile("5a" * 32)
WORKERS = 2
MIB = 1 << 20


class Runs(Together):
    """Of data, and larger than a header."""

    def get_extent(self, name: str, offset: int, length: int) -> bytes:
        return (
            super().get_extent(name, offset, length) if length >= MIB else self.inner.get_extent(name, offset, length)
        )


def main(action: str, repository: Path, index: Path, image: Path, at_once: int = 0) -> None:
    if action == "back-up":
        place = LocalRepository(repository, UnsyncedPosix())
        new = not repository.exists()
        pool = create_pool(place, SECRET, Parameters(), SystemClock()) if new else open_pool(place, SECRET)
        repo = Repo(pool, ContainerReader(pool))
        back_up(repo, Images("large", [image], {}), "none", 1, index, Quiet(), WORKERS)
    else:
        far = Runs(LocalRepository(repository, UnsyncedPosix()), first=4, most=at_once)
        pool = open_pool(far, SECRET)
        repo = Repo(pool, ContainerReader(pool))
        point = read_point(pool, list_points(pool).find("latest"))
        outcome = restore(repo, point.disks[0], image, Quiet(), overwrite=False, workers=WORKERS)
        assert not outcome.lost
        assert far.deepest == at_once
    print(most_memory_bytes())


def most_memory_bytes() -> int:
    """Of this program alone: `ru_maxrss` begins with the peak of whoever started it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise AssertionError("the kernel does not tell VmHWM")


if __name__ == "__main__":
    main(sys.argv[1], *(Path(argument) for argument in sys.argv[2:5]), *map(int, sys.argv[5:]))
