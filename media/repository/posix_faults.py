"""The one table from errors of the file system to faults."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from media.faults import RepositoryDenied, RepositoryFault, RepositoryFull, RepositoryUnfit, RepositoryUnreachable

_FAULT_BY_ERRNO: dict[int, type[RepositoryFault]] = {
    errno.ENOSPC: RepositoryFull,
    errno.EDQUOT: RepositoryFull,
    errno.EFBIG: RepositoryFull,
    errno.EACCES: RepositoryDenied,
    errno.EPERM: RepositoryDenied,
    errno.EROFS: RepositoryDenied,
    errno.ENOTDIR: RepositoryUnfit,
    errno.ELOOP: RepositoryUnfit,
    errno.ENAMETOOLONG: RepositoryUnfit,
}  # all others, as EIO, ESTALE, ETIMEDOUT: RepositoryUnreachable

# What a read says of one file, while the directory that it is in may be well: sectors, checksums, permissions. Linux
# has several numbers for one bad sector: the block layer's (EIO, ENODATA, EILSEQ), ext4's and XFS's (EBADMSG, EUCLEAN).
OF_ONE_OBJECT = {
    errno.EIO,
    errno.ENODATA,
    errno.EILSEQ,
    errno.EBADMSG,
    errno.EUCLEAN,
    errno.EACCES,
    errno.EPERM,
    errno.EISDIR,
}


@contextmanager
def translated(
    operation: str, name: str, path: Path, otherwise: type[RepositoryFault] = RepositoryUnreachable
) -> Iterator[None]:
    """Raise the fault for an OSError: which operation on which object, where, and what the system says."""
    try:
        yield
    except OSError as error:
        fault = _FAULT_BY_ERRNO.get(error.errno or 0, otherwise)
        raise fault(f"{operation} {name}: {path}: {error.strerror or error}") from error
