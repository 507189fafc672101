"""Landing directories: where restores to files may go, whatever somebody asks for.

A path is walked from a landing directory down, one component at a time, following no link, and what is written is
named relative to the descriptor of the directory that was reached. So neither `..` nor a link that is exchanged
meanwhile leads out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from runtime.faults import Fault
from vsa.faults import LandingRefused

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def opened(landings: Sequence[Path], directory: str) -> Iterator[Path]:
    """A path to write below, for the time of the context; directories that are missing are made.

    Faults raised inside that name it are raised with the path that people know. Raises LandingRefused.
    """
    wanted = PurePosixPath(directory)
    landing = next((each for each in landings if wanted.is_relative_to(each)), None)
    if landing is None or ".." in wanted.parts or "\0" in directory:
        known = ", ".join(str(each) for each in landings) or "none is set"
        raise LandingRefused(f"{directory!r}: expected a path below one of this agent's landing directories: {known}")
    fd = _walked(landing, wanted.relative_to(landing).parts, directory)
    inside = f"/proc/self/fd/{fd}"
    try:
        yield Path(inside)
    except Fault as fault:
        message = str(fault)
        if inside not in message:
            raise
        raise type(fault)(message.replace(inside, directory)) from fault
    finally:
        os.close(fd)


def _walked(landing: Path, parts: tuple[str, ...], directory: str) -> int:
    try:
        fd = os.open(landing, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # the setting may name a link
    except OSError as error:
        raise LandingRefused(f"{landing}: {error.strerror}; it is a landing directory of this agent") from error
    for part in parts:
        try:
            with suppress(FileExistsError):
                os.mkdir(part, 0o700, dir_fd=fd)
            below = os.open(part, _OPEN, dir_fd=fd)
        except OSError as error:
            raise LandingRefused(f"{directory}: {part}: {error.strerror}; expected a directory, no link") from error
        finally:
            os.close(fd)
        fd = below
    return fd
