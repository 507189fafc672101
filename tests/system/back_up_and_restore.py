"""A process that backs up an image, or restores it, and tells the most memory that it took.

back_up_and_restore.py back-up|restore REPOSITORY INDEX IMAGE
"""

from __future__ import annotations

import sys
from pathlib import Path

from ingot.embedded import Repo, back_up, open_repo, restore
from ingot.sources import Images
from media.container_reader import ContainerReader
from media.key_slots import KeyFile
from media.pool import Parameters, create_pool
from media.recovery_point import list_points, read_point
from media.repository.local import LocalRepository
from runtime.clock import SystemClock
from tests.faults.scenario import Quiet
from tests.faults.unsynced_posix import UnsyncedPosix

SECRET = KeyFile("5a" * 32)
WORKERS = 2


def main(action: str, repository: Path, index: Path, image: Path) -> None:
    if action == "back-up":
        place = LocalRepository(repository, UnsyncedPosix())
        pool = create_pool(place, SECRET, Parameters(), SystemClock())
        repo = Repo(pool, ContainerReader(pool))
        back_up(repo, Images("large", [image], {}), "none", 1, index, Quiet(), WORKERS)
    else:
        repo = open_repo(str(repository), SECRET)
        point = read_point(repo.pool, list_points(repo.pool).find("latest"))
        outcome = restore(repo, point.disks[0], image, Quiet(), overwrite=False, workers=WORKERS)
        assert not outcome.lost
    print(most_memory_bytes())


def most_memory_bytes() -> int:
    """Of this program alone: `ru_maxrss` begins with the peak of whoever started it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise AssertionError("the kernel does not tell VmHWM")


if __name__ == "__main__":
    main(sys.argv[1], *(Path(argument) for argument in sys.argv[2:]))
