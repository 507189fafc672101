"""Files of a directory tree in the order of their names as objects.

Names are ordered as wholes, so `a.1` comes before `a/1`, as in a bucket: `.` is less than `/`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from media.repository import Entry
from media.repository.names import is_object_name
from media.repository.posix_faults import translated


def walk(root: Path, prefix: str, after: str) -> Iterator[Entry]:
    """Every regular file below `root` that has an object's name, starts with `prefix` and is greater than `after`.

    Holds the names of one directory a level in memory. Directories that hold nothing greater than `after` are not read.
    What vanishes while it is walked over is left out.
    """
    directory = prefix[: prefix.rfind("/") + 1]
    yield from _walk(root, directory, prefix, after)


def _walk(root: Path, directory: str, prefix: str, after: str) -> Iterator[Entry]:
    with translated("list", prefix, root / directory):
        names = _names(root, directory, prefix, after)
    for name in names:
        if name.endswith("/"):
            yield from _walk(root, name, prefix, after)
            continue
        with translated("list", prefix, root / name):
            try:
                size = (root / name).lstat().st_size
            except FileNotFoundError:
                continue
        yield Entry(name, size)


def _names(root: Path, directory: str, prefix: str, after: str) -> list[str]:
    """What lies in `directory` and can matter, in order; directories with the slash that follows them in names."""
    names: list[str] = []
    try:
        found = os.scandir(root / directory)
    except (FileNotFoundError, NotADirectoryError):
        return names
    with found:
        for entry in found:
            name = directory + entry.name
            if not is_object_name(name) or not name.startswith(prefix):
                continue
            if entry.is_dir(follow_symlinks=False):
                name += "/"
                if name > after or after.startswith(name):
                    names.append(name)
            elif name > after and entry.is_file(follow_symlinks=False):
                names.append(name)
    names.sort()
    return names
