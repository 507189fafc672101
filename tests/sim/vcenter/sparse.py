"""Where a sparse file has data."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator


def data_ranges(file: int, first: int, end: int) -> Iterator[tuple[int, int]]:
    """What of a range of an open file is allocated, in order."""
    at = first
    while at < end:
        try:
            here = os.lseek(file, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole from here on
                return
            raise
        at = os.lseek(file, here, os.SEEK_HOLE)
        if here < end:
            yield here, min(at, end)
