"""Builds of ESXi whose change tracking is known to forget changes: there every disk is read whole.

What such a host calls unchanged may not be, so nothing that it tells is used, and no recovery point keeps its change
id: the first backup on another build reads all, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Bug:
    """Hosts with a version that begins so and a build before the one that mends it; disks larger than so much."""

    versions: tuple[str, ...]
    mended_build: int | None  # None: no build of these versions is taken to be good
    larger_than: int
    what: str
    source: str


BUGS = (
    Bug(
        ("4.", "5."),
        None,
        128 << 30,
        "changes are forgotten once a disk has grown over 128 GiB",
        "VMware KB 2090639 (Broadcom 310751)",
    ),
    Bug(
        ("6.0",),
        3247720,  # patch ESXi600-201511001
        0,
        "changes made while a snapshot is consolidated are forgotten",
        "VMware KB 2136854 (Broadcom 317933)",
    ),
)


def bug_of(product: Any, disk_bytes: int) -> Bug | None:
    """What is wrong with the change tracking of a host with this `AboutInfo`, for a disk of this size.

    None where nothing is known, also of a host that tells nothing of itself.
    """
    version, build = str(getattr(product, "version", None) or ""), str(getattr(product, "build", None) or "")
    for bug in BUGS:
        early = bug.mended_build is None or (build.isdigit() and int(build) < bug.mended_build)
        if version.startswith(bug.versions) and early and disk_bytes > bug.larger_than:
            return bug
    return None
