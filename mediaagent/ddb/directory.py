"""Where an index lies, and where it must not: network file systems keep neither LMDB's map nor its locks coherent."""

from __future__ import annotations

import os
import re
from pathlib import Path
from uuid import UUID

from mediaagent.ddb.faults import DdbUnavailable

CACHES = ("footers", "pages")  # directories beside an index, of what lies in the repository and never changes
_MOUNTS = Path("/proc/self/mountinfo")
_ESCAPE = re.compile(r"\\([0-7]{3})")
_NETWORK = frozenset(
    {
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "gfs2",
        "glusterfs",
        "gpfs",
        "lustre",
        "nfs",
        "nfs4",
        "ocfs2",
        "smb3",
        "smbfs",
    }
    | {"fuse.ceph", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"}
)


def default_directory(repository_uuid: bytes) -> Path:
    """`$XDG_STATE_HOME/ingot/<uuid>`, or `~/.local/state/ingot/<uuid>`. Raises DdbUnavailable without a home."""
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not state.is_absolute():  # the XDG specification: what is not absolute is ignored
        try:
            state = Path.home() / ".local" / "state"
        except RuntimeError as error:
            raise DdbUnavailable(f"no place for an index: XDG_STATE_HOME is not set, and {error}") from error
    return state / "ingot" / str(UUID(bytes=repository_uuid))


def prepare(directory: Path) -> None:
    """Make the directory, readable by its owner only. Raises DdbUnavailable."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        mounts = _MOUNTS.read_text(errors="surrogateescape") if _MOUNTS.exists() else ""
        kind = filesystem_kind(directory.resolve(), mounts)
    except OSError as error:
        raise DdbUnavailable(f"{directory}: no directory for an index: {error.strerror}") from error
    if kind in _NETWORK:
        raise DdbUnavailable(f"{directory}: lies on {kind}: an index needs a local file system")


def filesystem_kind(path: Path, mountinfo: str) -> str:
    """The type of the file system that holds `path`, absolute and resolved; empty when the table does not say."""
    depth, kind = -1, ""
    for line in mountinfo.splitlines():
        fields, _, tail = line.partition(" - ")
        mount = Path(_ESCAPE.sub(lambda match: chr(int(match[1], 8)), fields.split(" ")[4]))
        if path.is_relative_to(mount) and len(mount.parts) >= depth:  # on one point the last one counts
            depth, kind = len(mount.parts), tail.split(" ")[0]
    return kind
