"""A restore that was interrupted goes on: at every write, by whatever end, with whatever is left of its journal."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from media.extents import Extent, gaps, normal, total
from media.faults import ObjectUnreadable, TargetExists
from media.reader import DiskRestore, Outcome
from media.recovery_point import DiskTree
from tests.media.fakes import FakeClock, Recording, SparseDisk, Unreadable
from tests.media.random_disks import random_image
from tests.media.workbench import SEGMENT, Workbench, zeros
from vsa.disks.continued import ContinuedFile
from vsa.disks.journal import Journal

BOOT = "this boot"
SIZE = SEGMENT * 6 + 1234


class Killed(BaseException):
    """What ends a process here."""


class Dying(ContinuedFile):
    """Dies at its n-th write: before the bytes are written, or when they are and nobody noted it."""

    def __init__(self, *arguments: object, n: int, after: bool, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]
        self._left = n
        self._after = after

    def write(self, offset: int, data: memoryview) -> None:
        self._left -= 1
        if self._left < 0:
            raise Killed
        if self._left == 0:
            if self._after:
                os.pwrite(self._fd, data, offset)
            raise Killed
        super().write(offset, data)


def killed(file: ContinuedFile) -> None:
    """The kernel closes what a killed process had open, and nothing else happens."""
    os.close(file._fd)
    file._journal.close()


def interrupted(file: ContinuedFile) -> None:
    file.__exit__(Killed, None, None)


def options(note_bytes: int = 1, boot: str = BOOT, clock: FakeClock | None = None) -> dict[str, object]:
    return {
        "overwrite": False,
        "boot": boot,
        "clock": clock or FakeClock(),
        "journal": partial(Journal, note_bytes=note_bytes),
    }


def run(bench: Workbench, disk: DiskTree, file: ContinuedFile, workers: int = 1) -> Outcome:
    return DiskRestore(bench.pool, bench.containers, disk, file, workers, lambda _: None, done=file.done).run()


def finish(bench: Workbench, disk: DiskTree, path: Path, **how: object) -> Outcome:
    with ContinuedFile(path, disk.size, "id", **how) as file:  # type: ignore[arg-type]
        outcome = run(bench, disk, file, workers=2)
        file.finish()
    return outcome


def backed_up(seed: int) -> tuple[Workbench, bytes, DiskTree]:
    bench = Workbench()
    image = bytes(random_image(random.Random(seed), SIZE))
    return bench, image, bench.backup(SparseDisk.of(image)).disks[0]


@pytest.mark.parametrize("end", [killed, interrupted])
@pytest.mark.parametrize("after", [False, True])
def test_a_restore_that_ends_at_any_write_goes_on_and_fetches_nothing_again(
    end: Callable[[ContinuedFile], None], after: bool, tmp_path: Path
) -> None:
    bench, image, disk = backed_up(1)
    path = tmp_path / "disk.raw"
    for n in range(1, 1000):
        file = Dying(path, disk.size, "id", n=n, after=after, **options())
        try:
            run(bench, disk, file)
        except Killed:
            end(file)
        else:
            interrupted(file)
            break
        assert not path.exists()
        recording = Recording(bench.memory)
        bench.behind(recording)
        with ContinuedFile(path, disk.size, "id", **options()) as again:  # type: ignore[arg-type]
            done = total(again.done)
            assert (done > 0) == (n > 1)
            outcome = run(bench, disk, again)
            again.finish()
        bench.behind(bench.memory)
        assert path.read_bytes() == image
        assert (outcome.kept_bytes, outcome.bytes_written) == (done, disk.data_bytes - done)
        assert [each.name for each in tmp_path.iterdir()] == ["disk.raw"]
        path.unlink()
    assert n > 5


def test_a_container_whose_chunks_are_all_written_is_not_asked_for(tmp_path: Path) -> None:
    bench, image, disk = backed_up(2)
    path = tmp_path / "disk.raw"
    with ContinuedFile(path, disk.size, "id", **options()) as file:  # type: ignore[arg-type]
        run(bench, disk, file)
    assert file.kept is not None
    recording = Recording(bench.memory)
    bench.behind(recording)
    finish(bench, disk, path, **options())
    assert path.read_bytes() == image
    assert not [name for name, _, _ in recording.fetched if bench.memory.get(name)[10] == 1]


@pytest.mark.parametrize("seed", range(25))
def test_whatever_is_left_of_the_journal_the_bytes_come_out_right(seed: int, tmp_path: Path) -> None:
    """Torn, flipped, gone; and the file full of what nobody noted."""
    rng = random.Random(seed)
    bench, image, disk = backed_up(seed)
    path = tmp_path / "disk.raw"
    file = Dying(path, disk.size, "id", n=rng.randrange(1, 30), after=True, **options(rng.choice([1, 20_000])))
    with suppress(Killed):
        run(bench, disk, file)
    killed(file)
    journal = next(tmp_path.glob(".disk.raw.id.journal"))
    raw = bytearray(journal.read_bytes())
    how = rng.choice(["torn", "flipped", "gone", "whole"])
    if how == "torn":
        journal.write_bytes(raw[: rng.randrange(len(raw))])
    elif how == "flipped":
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        journal.write_bytes(raw)
    elif how == "gone":
        journal.unlink()
    with ContinuedFile(path, disk.size, "id", **options()) as again:  # type: ignore[arg-type]
        part = next(tmp_path.glob(".disk.raw.id.partial"))
        for gap in gaps(again.done, 0, disk.size):
            with part.open("rb") as found:
                found.seek(gap.offset)
                assert not any(found.read(gap.length)), "what is not done reads as zero"
        run(bench, disk, again)
        again.finish()
    assert path.read_bytes() == image


def test_after_a_crash_of_the_machine_only_what_was_made_durable_is_kept(tmp_path: Path) -> None:
    clock = FakeClock()
    path = tmp_path / "disk.raw"
    file = ContinuedFile(path, 3000, "id", **options(clock=clock))  # type: ignore[arg-type]
    file.write(0, memoryview(bytes(1000)))
    clock.seconds += 61
    file.write(1000, memoryview(bytes(500)))  # makes durable what was noted
    file.write(2000, memoryview(bytes(500)))
    killed(file)
    for boot, done in (
        (BOOT, [Extent(0, 1500), Extent(2000, 500)]),
        ("another", [Extent(0, 1500)]),
        ("a third", [Extent(0, 1500)]),
    ):
        file = ContinuedFile(path, 3000, "id", **options(boot=boot))  # type: ignore[arg-type]
        assert file.done == done
        killed(file)


def test_a_partial_of_something_else_is_neither_continued_nor_touched(tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    with ContinuedFile(path, 10, "one", **options()) as file:  # type: ignore[arg-type]
        file.write(0, memoryview(b"abc"))
    assert file.kept is not None
    left = file.kept.read_bytes()
    with ContinuedFile(path, 10, "other", **options()) as file:  # type: ignore[arg-type]
        assert file.done == []
        assert [other.name for other in file.others()] == [".disk.raw.one.partial"]
        file.finish()
    assert path.read_bytes() == bytes(10)
    assert (tmp_path / ".disk.raw.one.partial").read_bytes() == left


def test_of_two_runs_of_one_restore_the_second_is_refused(tmp_path: Path) -> None:
    with ContinuedFile(tmp_path / "x", 10, "id", **options()) as file:  # type: ignore[arg-type]
        with pytest.raises(TargetExists, match="another run"):
            ContinuedFile(tmp_path / "x", 10, "id", **options())  # type: ignore[arg-type]
        file.write(0, memoryview(b"abc"))
        file.finish()
    assert (tmp_path / "x").read_bytes() == b"abc" + bytes(7)


def test_one_of_another_size_is_begun_anew(tmp_path: Path) -> None:
    with ContinuedFile(tmp_path / "x", 10, "id", **options()) as file:  # type: ignore[arg-type]
        file.write(0, memoryview(b"abc"))
    with ContinuedFile(tmp_path / "x", 20, "id", **options()) as file:  # type: ignore[arg-type]
        assert file.done == []
        file.finish()
    assert (tmp_path / "x").read_bytes() == bytes(20)


def test_nothing_is_kept_of_a_run_that_wrote_nothing(tmp_path: Path) -> None:
    with ContinuedFile(tmp_path / "x", 10, "id", **options()) as file:  # type: ignore[arg-type]
        assert file.done == []
    assert file.kept is None
    assert list(tmp_path.iterdir()) == []


def test_a_finished_file_is_never_written_again_through_what_is_left_of_its_partial(tmp_path: Path) -> None:
    path = tmp_path / "x"
    file = ContinuedFile(path, 10, "id", **options())  # type: ignore[arg-type]
    file.write(0, memoryview(b"abc"))
    file.finish()
    killed(file)  # named, and both names are there
    with ContinuedFile(path, 10, "id", **{**options(), "overwrite": True}) as again:  # type: ignore[arg-type]
        assert again.done == []
        again.write(5, memoryview(b"x"))
        assert path.read_bytes() == b"abc" + bytes(7)


def test_what_was_lost_is_tried_again(tmp_path: Path) -> None:
    bench, image, disk = backed_up(3)
    path = tmp_path / "disk.raw"
    names = [entry.name for entry in bench.memory.list("c/") if bench.memory.get(entry.name)[10] == 1]
    bench.behind(Unreadable(bench.memory, {names[0]}, ObjectUnreadable))
    with ContinuedFile(path, disk.size, "id", **options()) as file:  # type: ignore[arg-type]
        outcome = run(bench, disk, file)
        assert outcome.lost
        assert normal([*file.done, *outcome.lost_extents])
    bench.behind(bench.memory)
    assert not finish(bench, disk, path, **options()).lost
    assert path.read_bytes() == image != zeros(image, outcome.lost_extents)
