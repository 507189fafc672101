"""Disks for the demo: a real ext4 file system of files found on this machine, or a synthetic one; and a day's changes.

The changes of an ext4 disk are made by `debugfs`, so allocation and metadata change as they do on a running machine,
and nobody needs to be root. What the tools cannot do is done to the bytes instead.
"""

from __future__ import annotations

import os
import random
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ingot.faults import DemoFailed, UsageWrong

DATA_BYTES = 192 << 20
FILES_MAX = 3000
DISK_BYTES = 1 << 30
FILE_BYTES_MAX = 16 << 20
SYNTHETIC_BYTES = 128 << 20
_SOURCES = ("/usr/bin", "/usr/lib/python3", "/usr/share", "/usr/lib")
_TOOLS = "/usr/sbin:/sbin:/usr/bin:/bin"  # where mke2fs is, also for people who are not root
_WINDOW_BYTES = 4 << 20
_DAY_FILES, _DAY_BYTES = 6, 1 << 20


def make_disk(source: Path | None, to: Path) -> str:
    """Write the disk to start from; what it is, for people. Raises UsageWrong, DemoFailed."""
    if source is not None:
        _copy(source, to)
        return f"a copy of {source}"
    tool = shutil.which("mke2fs", path=_TOOLS)
    if tool is None:
        _synthetic(to)
        return "synthetic: text and noise (with mke2fs, of e2fsprogs, it would be a real file system)"
    with tempfile.TemporaryDirectory(dir=to.parent) as stage:
        files, used = _collect(Path(stage))
        with to.open("wb") as image:
            image.truncate(DISK_BYTES)
        _run([tool, "-q", "-F", "-t", "ext4", "-d", stage, str(to)])
    return f"an ext4 file system with {files} files of this machine, {used >> 20} MiB"


def change_disk(before: Path, after: Path, seed: int) -> None:
    """Write `after`: the disk of `before` one day later."""
    _copy(before, after)
    chance = random.Random(seed)
    tool = shutil.which("debugfs", path=_TOOLS)
    if tool is None or not _is_ext4(after):
        _change_bytes(after, chance)
        return
    with tempfile.TemporaryDirectory(dir=after.parent) as stage:
        commands = []
        for number in range(_DAY_FILES):
            file = Path(stage) / f"day-{seed}-{number}"
            file.write_bytes(_text(chance, _DAY_BYTES) if number % 2 else chance.randbytes(_DAY_BYTES))
            commands.append(f"write {file} {file.name}")
        script = Path(stage) / "commands"
        script.write_text("\n".join(commands) + "\n")
        _run([tool, "-w", "-f", str(script), str(after)])


def same_bytes(one: Path, other: Path) -> bool:
    """Whether two files are the same, byte for byte."""
    return one.stat().st_size == other.stat().st_size and all(a == b for _, a, b in _windows(one, other))


def _windows(one: Path, other: Path) -> Iterator[tuple[int, bytes, bytes]]:
    offset = 0
    with one.open("rb", buffering=0) as first, other.open("rb", buffering=0) as second:
        while True:
            a, b = first.read(_WINDOW_BYTES), second.read(_WINDOW_BYTES)
            if not a and not b:
                return
            yield offset, a, b
            offset += len(a)


def _copy(source: Path, to: Path) -> None:
    """A copy that shares blocks where the file system can, and keeps holes."""
    if not source.exists() or source.is_dir():
        raise UsageWrong(
            f"{source}: expected a disk image or block device, found {'a directory' if source.is_dir() else 'nothing'}"
        )
    _run(["cp", "--sparse=always", "--reflink=auto", str(source), str(to)])
    if to.stat().st_size == 0:
        raise UsageWrong(f"{source}: expected a disk image, found 0 bytes")


def _run(command: list[str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise DemoFailed(f"{command[0]}: ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-500:]}")


def _collect(stage: Path) -> tuple[int, int]:
    """Copy files of this machine, until it is enough; how many, and their bytes."""
    count = used = 0
    for source in _SOURCES:
        for directory, names, files in os.walk(source):
            names.sort()
            for name in sorted(files):
                path = Path(directory) / name
                try:
                    found = path.lstat()
                    if not stat.S_ISREG(found.st_mode) or not 0 < found.st_size <= FILE_BYTES_MAX:
                        continue
                    if used + found.st_size > DATA_BYTES or count == FILES_MAX:
                        return count, used
                    target = stage / path.relative_to("/")
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, target)
                except OSError:
                    continue  # not ours to read, or gone meanwhile
                count += 1
                used += found.st_size
    return count, used


def _is_ext4(image: Path) -> bool:
    """By the magic number of its superblock."""
    with image.open("rb") as file:
        file.seek(1024 + 56)
        return file.read(2) == b"\x53\xef"


def _synthetic(to: Path) -> None:
    """A quarter noise, a quarter text, the rest holes."""
    chance = random.Random(0)
    with to.open("wb") as image:
        for offset in range(0, SYNTHETIC_BYTES, 4 << 20):
            image.seek(2 * offset)
            image.write(chance.randbytes(2 << 20) + _text(chance, 2 << 20))
        image.truncate(2 * SYNTHETIC_BYTES)


def _change_bytes(image: Path, chance: random.Random) -> None:
    size = image.stat().st_size
    length = min(_DAY_BYTES, max(512, size // 100))
    with image.open("r+b") as file:
        for number in range(_DAY_FILES):
            file.seek(chance.randrange(0, max(1, size - length)) // 4096 * 4096)
            file.write(_text(chance, length) if number % 2 else chance.randbytes(length))
        file.truncate(size)


def _text(chance: random.Random, length: int) -> bytes:
    """Lines as logs have them: they compress, and do not repeat."""
    lines = []
    have = 0
    while have < length:
        line = (
            f"{chance.randrange(1 << 40):012x} service[{chance.randrange(9999)}]: request {chance.randrange(99)} done\n"
        )
        lines.append(line)
        have += len(line)
    return "".join(lines).encode()[:length]
