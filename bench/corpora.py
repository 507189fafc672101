"""The corpora of the benchmarks: three disks that belong together, made once and described.

    python -m bench.corpora --to DIR [--synthetic] [--size SIZE]

makes `system-0.raw`, `system-1.raw` (one day later) and `other.raw` (another machine), or with `--synthetic`
`synthetic-0.raw`, `synthetic-1.raw` and `synthetic-other.raw`. Beside each image lies its description, NAME.json,
written last: an image described as of the size and the making asked for is complete and is left alone. Beside the later
one lies NAME.changed.json, the extents in which it differs (see `bench.changes`).
"""

import argparse
import hashlib
import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import next_day, synthetic, system_image
from bench.changes import changed_extents, used_bytes, write_extents
from bench.run import CorpusError, say

SIZE = re.compile(r"(\d+)(B|KiB|MiB|GiB)?")
UNIT_BYTES = {None: 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
SMALLEST_BYTES = 64 << 20
GRAIN_BYTES = 1 << 20


@dataclass(frozen=True)
class Corpus:
    """One image to be made: `how` for people, `make` for us, `after` the image it is one day later than."""

    name: str
    how: str
    make: Callable[[Path, int], None]
    after: str | None = None


def system_corpora(folder: Path) -> tuple[Corpus, ...]:
    """Real operating systems."""
    first, other = system_image.FIRST, system_image.OTHER
    return (
        Corpus(first.name, _installation(first), lambda image, size: system_image.make(first, image, size)),
        Corpus(
            "system-1",
            "system-0 one day later: security updates, packages installed, logs grown, database pages written, "
            "files deleted, all through a mounted file system",
            lambda image, _size: next_day.make(folder / f"{first.name}.raw", image),
            after=first.name,
        ),
        Corpus(other.name, _installation(other), lambda image, size: system_image.make(other, image, size)),
    )


def synthetic_corpora(folder: Path) -> tuple[Corpus, ...]:
    """Disks from a seed."""
    return (
        Corpus("synthetic-0", "seeded files of text, database pages and packed data", synthetic.make_first),
        Corpus(
            "synthetic-1",
            "synthetic-0 one day later: pages rewritten, one run zeroed, files added",
            lambda image, _size: synthetic.make_next_day(folder / "synthetic-0.raw", image),
            after="synthetic-0",
        ),
        Corpus("synthetic-other", "half the files of synthetic-0 at other offsets, half its own", synthetic.make_other),
    )


def make(corpora: tuple[Corpus, ...], folder: Path, size_bytes: int) -> dict[str, Path]:
    """Make what is missing of `corpora` in `folder`; return the images by name."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as failed:
        raise CorpusError(f"{folder}: {failed.strerror}") from failed
    image_by_name: dict[str, Path] = {}
    for corpus in corpora:
        image = image_by_name[corpus.name] = folder / f"{corpus.name}.raw"
        description = image.with_suffix(".json")
        if _is_complete(corpus, image, description, size_bytes):
            say(f"{corpus.name}: there")
            continue
        say(f"{corpus.name}: making {size_bytes} bytes")
        for stale in corpora:
            if corpus.name in (stale.name, stale.after):
                (folder / f"{stale.name}.json").unlink(missing_ok=True)
        try:
            corpus.make(image, size_bytes)
            if corpus.after is not None:
                extents = changed_extents(image_by_name[corpus.after], image)
                write_extents(image.with_suffix(".changed.json"), size_bytes, extents)
        except (CorpusError, OSError) as failed:
            raise CorpusError(f"{corpus.name}: {failed}") from failed
        _describe(corpus, image, description)
    return image_by_name


def _describe(corpus: Corpus, image: Path, description: Path) -> None:
    with image.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    size, used = image.stat().st_size, used_bytes(image)
    told: dict[str, str | int] = {
        "name": corpus.name,
        "how": corpus.how,
        "logical_bytes": size,
        "used_bytes": used,
        "sha256": digest,
    }
    if corpus.after is not None:
        listed = json.loads(image.with_suffix(".changed.json").read_text())["extents"]
        told |= {"after": corpus.after, "changed_bytes": sum(extent["length"] for extent in listed)}
    part = description.with_suffix(".part")
    part.write_text(json.dumps(told, indent=2) + "\n")
    part.rename(description)
    say(f"{corpus.name}: {used >> 20} of {size >> 20} MiB used")


def _is_complete(corpus: Corpus, image: Path, description: Path, size_bytes: int) -> bool:
    if not (image.exists() and description.exists() and image.stat().st_size == size_bytes):
        return False
    told = json.loads(description.read_text())
    return bool(told["logical_bytes"] == size_bytes and told["how"] == corpus.how)


def _installation(system: system_image.System) -> str:
    order = "; ".join(" ".join(packages) for packages in system.installed)
    return f"{system_image.RELEASE} minbase, then in this order: {order}; a database and a log; ext4 {system.uuid}"


def _size(text: str) -> int:
    match = SIZE.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number with B, KiB, MiB or GiB")
    size = int(match[1]) * UNIT_BYTES[match[2]]
    if size < SMALLEST_BYTES or size % GRAIN_BYTES:
        raise argparse.ArgumentTypeError(f"{text!r}: expected whole MiB, at least {SMALLEST_BYTES >> 20}")
    return size


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.corpora", description="Make the benchmark corpora.")
    parser.add_argument("--to", type=Path, default=Path("bench/corpora"), metavar="DIR")
    parser.add_argument("--synthetic", action="store_true", help="from a seed, without installing anything")
    parser.add_argument("--size", type=_size, default="4GiB", help="of each image, like 512MiB (default 4GiB)")
    asked = parser.parse_args()
    if not asked.synthetic and os.geteuid() != 0:
        parser.error("installing a system needs root; --synthetic does not")
    corpora = (synthetic_corpora if asked.synthetic else system_corpora)(asked.to)
    try:
        make(corpora, asked.to, asked.size)
    except CorpusError as failed:
        say(f"error: {failed}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
