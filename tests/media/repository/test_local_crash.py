"""Power lost between any two calls of the file system."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from media.faults import ObjectExists, ObjectMissing
from media.repository.local import LocalRepository
from tests.faults.recording_posix import RecordingPosix, lost, replay, survived

BODIES = {
    "ingot.json": b"{}",
    "c/0000000001/000000": bytes(range(256)) * 64,
    "c/0000000001/000001": b"second container",
    "sess/0000000001": b"",
    "sess/0000000001.1": b"heartbeat",
    "rpm/0000000001/000001": b"mark",
}


class Story:
    """Objects put one after another, and how many operations had been done when each put_new returned."""

    def __init__(self, directory: Path, make: Callable[[RecordingPosix], object] | None = None) -> None:
        directory.mkdir()
        self.posix = RecordingPosix(directory)
        self.root = directory / "deep" / "repository"
        self.repository = LocalRepository(self.root, self.posix)
        self.returned_at: dict[str, int] = {}
        for name, body in BODIES.items():
            self.repository.put_new(name, body)
            self.returned_at[name] = len(self.posix.log)


def objects_in(root: Path) -> dict[str, bytes]:
    repository = LocalRepository(root)
    return {entry.name: repository.get(entry.name) for entry in repository.list("")}


def coin(seed: int) -> Callable[[], bool]:
    toss = random.Random(seed)
    return lambda: toss.random() < 0.5


@pytest.mark.parametrize("survives", [lost, survived, *map(coin, range(12))])
def test_what_returned_is_there_whole_and_what_did_not_is_whole_or_absent(
    tmp_path: Path, survives: Callable[[], bool]
) -> None:
    story = Story(tmp_path / "before")
    for n in range(len(story.posix.log) + 1):
        after = tmp_path / f"after-{n}"
        after.mkdir()
        replay(story.posix.log, n, after, survives)
        found = objects_in(after / "deep" / "repository")
        for name, body in BODIES.items():
            if story.returned_at[name] <= n:
                assert found[name] == body, (n, name)
            else:
                assert found.get(name, body) == body, (n, name)


def test_a_run_after_the_crash_sweeps_what_was_being_written_and_goes_on(tmp_path: Path) -> None:
    story = Story(tmp_path / "before")
    for n in range(len(story.posix.log) + 1):
        after = tmp_path / f"after-{n}"
        after.mkdir()
        replay(story.posix.log, n, after, survived)
        root = after / "deep" / "repository"
        repository = LocalRepository(root, RecordingPosix(after))
        repository.sweep()
        assert not (root / "tmp").exists() or not list((root / "tmp").iterdir())
        for name, body in BODIES.items():
            try:
                repository.put_new(name, body)
            except ObjectExists:
                assert repository.get(name) == body
        assert objects_in(root) == BODIES


def test_who_finds_a_name_taken_has_made_the_winner_durable(tmp_path: Path) -> None:
    """The winner crashed between its link and its sync of the directory."""
    (tmp_path / "before").mkdir()
    posix = RecordingPosix(tmp_path / "before")
    LocalRepository(tmp_path / "before", posix).put_new("rp/0000000001", b"winner")
    linked = next(n for n, operation in enumerate(posix.log, 1) if operation.call == "link")
    del posix.log[linked:]

    finder = LocalRepository(tmp_path / "before", posix)
    with pytest.raises(ObjectExists):
        finder.put_new("rp/0000000001", b"finder")
    (tmp_path / "after").mkdir()
    replay(posix.log, len(posix.log), tmp_path / "after")
    assert LocalRepository(tmp_path / "after").get("rp/0000000001") == b"winner"


def test_a_directory_that_another_writer_made_and_did_not_sync_is_synced(tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    posix = RecordingPosix(tmp_path / "before")
    posix.mkdir(tmp_path / "before" / "c")
    posix.mkdir(tmp_path / "before" / "c" / "0000000001")
    LocalRepository(tmp_path / "before", posix).put_new("c/0000000001/000000", b"body")
    (tmp_path / "after").mkdir()
    replay(posix.log, len(posix.log), tmp_path / "after")
    assert LocalRepository(tmp_path / "after").get("c/0000000001/000000") == b"body"


def test_a_deleted_object_does_not_come_back(tmp_path: Path) -> None:
    story = Story(tmp_path / "before")
    story.repository.delete("sess/0000000001.1")
    (tmp_path / "after").mkdir()
    replay(story.posix.log, len(story.posix.log), tmp_path / "after")
    with pytest.raises(ObjectMissing):
        LocalRepository(tmp_path / "after" / "deep" / "repository").get("sess/0000000001.1")


def test_the_recording_notices_a_writer_that_does_not_sync(tmp_path: Path) -> None:
    """The test of these tests: drop one kind of sync from the log, and something that returned is lost or torn."""
    story = Story(tmp_path / "before")
    for call in ("fsync", "fsync_directory"):
        log = [operation for operation in story.posix.log if operation.call != call]
        for survives in (lost, coin(1)):
            after = tmp_path / f"{call}-{survives.__name__}"
            after.mkdir()
            replay(log, len(log), after, survives)
            root = after / "deep" / "repository"
            assert (objects_in(root) if root.exists() else {}) != BODIES
