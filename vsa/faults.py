"""What can be wrong with the disks of a machine, beyond what any source can suffer (media/faults.py)."""

from __future__ import annotations

from media.faults import SourceFault
from runtime.faults import Retry, UsageFault


class ImageMissing(SourceFault, UsageFault):
    """No disk image has this path."""

    code = "vsa.image_missing"


class ImageUnfit(SourceFault, UsageFault):
    """What has this path cannot be a disk image: a directory, a FIFO, a socket, a character device."""

    code = "vsa.image_unfit"


class ImageEmpty(SourceFault, UsageFault):
    """The disk image has no bytes: a mistake far more often than a disk."""

    code = "vsa.image_empty"


class ImageChanged(SourceFault):
    """Somebody wrote to the disk image while it was read, so what was read is no moment of it."""

    code = "vsa.image_changed"
    retry = Retry.LATER


class ChangesInvalid(UsageFault):
    """A file of changed extents is not what it should be; nothing of it was used."""

    code = "vsa.changes_invalid"


class NbdFault(SourceFault):
    """Something about an NBD server, or about the connection to it."""


class NbdMalformed(NbdFault):
    """The other side of an NBD connection sent what the protocol does not allow."""

    code = "vsa.nbd_malformed"
