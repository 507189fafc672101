"""What can be wrong with an index. None of it fails a backup: its answers become misses, and the operator is told.

DdbFault
├── DdbUnavailable   cannot be opened here, or somebody holds it
├── DdbForeign       it is another repository's
├── DdbFull          no space left in the map or on the disk
└── DdbCorrupt       its bytes are not what we wrote: the next opening rebuilds it, empty
"""

from __future__ import annotations

from runtime.faults import Fault, Retry


class DdbFault(Fault):
    """Something about the dedup database."""


class DdbUnavailable(DdbFault):
    """The directory cannot hold an index, or a lock of it is not to be had."""

    code = "ddb.unavailable"
    retry = Retry.LATER


class DdbForeign(DdbFault):
    """The directory holds the index of another repository, or a database that is not ours. It is left as it is."""

    code = "ddb.foreign"


class DdbFull(DdbFault):
    """No space left. What was committed still answers; what is recorded now is dropped."""

    code = "ddb.full"
    retry = Retry.LATER


class DdbCorrupt(DdbFault):
    """The index is not what we wrote. Never repaired: the next opening starts empty."""

    code = "ddb.corrupt"
