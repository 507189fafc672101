"""The corpora of the benchmarks: three disks a family that belong together, made once and described.

    python -m bench.corpora --to DIR [--families NAME,...] [--size SIZE]

What is made of which family says `bench.families`. Beside each image lies its description, NAME.json, written last: an
image described as of the size and the making asked for is complete and is left alone. Beside the later one lies
NAME.changed.json, the extents in which it differs (see `bench.changes`).
"""

import argparse
import hashlib
import json
import os
import re
import sys
from pathlib import Path

from bench.changes import changed_extents, used_bytes, write_extents
from bench.families import BY_NAME, FAMILIES, Corpus, Family
from bench.run import CorpusError, say

SIZE = re.compile(r"(\d+)(B|KiB|MiB|GiB)?")
UNIT_BYTES = {None: 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
SMALLEST_BYTES = 64 << 20
GRAIN_BYTES = 1 << 20


def make(family: Family, folder: Path, size_bytes: int) -> None:
    """Make what is missing of a family in `folder`, with its share of `size_bytes`."""
    size_bytes = int(size_bytes * family.share) // GRAIN_BYTES * GRAIN_BYTES
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as failed:
        raise CorpusError(f"{folder}: {failed.strerror}") from failed
    corpora = family.corpora(folder)
    for corpus in corpora:
        image = folder / f"{corpus.name}.raw"
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
                extents = changed_extents(folder / f"{corpus.after}.raw", image)
                write_extents(image.with_suffix(".changed.json"), size_bytes, extents)
        except (CorpusError, OSError) as failed:
            raise CorpusError(f"{corpus.name}: {failed}") from failed
        _describe(corpus, image, description)


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


def _size(text: str) -> int:
    match = SIZE.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number with B, KiB, MiB or GiB")
    size = int(match[1]) * UNIT_BYTES[match[2]]
    if size < SMALLEST_BYTES or size % GRAIN_BYTES:
        raise argparse.ArgumentTypeError(f"{text!r}: expected whole MiB, at least {SMALLEST_BYTES >> 20}")
    return size


def families_named(text: str) -> list[Family]:
    """The families of a comma-separated list; all of them for an empty one."""
    names = [name for name in text.split(",") if name] or [family.name for family in FAMILIES]
    unknown = [name for name in names if name not in BY_NAME]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: expected some of {', '.join(BY_NAME)}")
    return [BY_NAME[name] for name in names]


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.corpora", description="Make the benchmark corpora.")
    parser.add_argument("--to", type=Path, default=Path("bench/corpora"), metavar="DIR")
    parser.add_argument("--families", type=families_named, default=list(FAMILIES), metavar="NAME,...")
    parser.add_argument("--size", type=_size, default=4 << 30, help="of an ext4 image, like 4GiB; others in proportion")
    asked = parser.parse_args()
    for family in asked.families:
        if missing := family.missing(os.geteuid()):
            say(f"{family.name}: left out, needs {', '.join(missing)}")
            continue
        try:
            make(family, asked.to, asked.size)
        except CorpusError as failed:
            say(f"corpora: {failed}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
