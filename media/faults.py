"""What can be wrong with data at rest.

Fault
├── RepositoryFault      the place: missing, full, refused, unreachable
├── KeyFault             no key opens it, or what it opens was changed
├── DamageFault          an object is not what was written: named with cid and offset where it has them
└── SourceFault          what is backed up: disk images that cannot be read or changed their size
"""

from __future__ import annotations

from media.extents import Extent
from runtime.faults import Fault, Retry, UsageFault


class RepositoryFault(Fault):
    """Something about the repository as a place."""


class RepositoryMissing(RepositoryFault):
    """No repository lies here. A backup never creates one."""

    code = "media.repository_missing"


class RepositoryExists(RepositoryFault, UsageFault):
    """A repository, or something else, lies here already."""

    code = "media.repository_exists"


class RepositoryUrlUnknown(RepositoryFault, UsageFault):
    """The URL names a kind of repository that this build does not know."""

    code = "media.repository_url_unknown"


class RepositoryUnfit(RepositoryFault):
    """The place lacks an operation that safety rests on, as put-if-absent."""

    code = "media.repository_unfit"


class RepositoryFull(RepositoryFault):
    """No space or quota left. What was committed is whole; a later run goes on from what was stored."""

    code = "media.repository_full"
    retry = Retry.LATER


class RepositoryDenied(RepositoryFault):
    """The place refuses us: permissions, read-only."""

    code = "media.repository_denied"


class RepositoryUnreachable(RepositoryFault):
    """The place does not answer, or answers with errors of its own."""

    code = "media.repository_unreachable"
    retry = Retry.LATER


class RepositoryTimeout(RepositoryUnreachable):
    """The place takes too long to answer. What was asked of it may have been done."""

    code = "media.repository_timeout"


class RepositoryBusy(RepositoryUnreachable):
    """The place asks us to slow down, or has two of our requests for one name at once."""

    code = "media.repository_busy"


class TransferCorrupt(RepositoryUnreachable):
    """What arrived at the place is not what was sent: it compared the checksum, and stored nothing."""

    code = "media.transfer_corrupt"


class CertificateRefused(RepositoryFault):
    """Whoever answers under the place's name cannot prove that it is the place."""

    code = "media.certificate_refused"


class BucketMissing(RepositoryMissing):
    """The bucket does not exist. Ingot never makes one."""

    code = "media.bucket_missing"


class RegionWrong(RepositoryFault, UsageFault):
    """The bucket lies in another region than the one that was named."""

    code = "media.region_wrong"


class CredentialsMissing(RepositoryDenied):
    """None of the usual places holds credentials, or the one that should give them does not."""

    code = "media.credentials_missing"


class CredentialsWrong(RepositoryDenied):
    """The place does not know the access key, or its secret is another."""

    code = "media.credentials_wrong"


class CredentialsExpired(RepositoryDenied):
    """The credentials were good until a moment ago, and nothing on this machine has newer ones."""

    code = "media.credentials_expired"
    retry = Retry.LATER


class ClockSkewed(RepositoryDenied):
    """This machine's clock differs too much from the place's for signatures to count."""

    code = "media.clock_skewed"


class DeleteDenied(RepositoryDenied):
    """The place lets us write, but not delete: a policy, or a lock on the object. Backups go on."""

    code = "media.delete_denied"


class RepositoryUnsynced(RepositoryFault):
    """What was put has its name, or a directory for it was made, but the sync that makes it durable failed.

    The system tells that once: asking again would succeed, and prove nothing. So nobody asks again.
    """

    code = "media.repository_unsynced"


class ObjectExists(RepositoryFault):
    """A put-if-absent found the name taken."""

    code = "media.object_exists"


class ObjectMissing(RepositoryFault):
    """No object has this name."""

    code = "media.object_missing"


class KeyFault(Fault):
    """Something about keys."""


class KeyWrong(KeyFault):
    """No key slot opens with this secret."""

    code = "media.key_wrong"


class KeyNeeded(KeyFault, UsageFault):
    """The repository is encrypted, and no secret was given."""

    code = "media.key_needed"


class KeyUnfit(KeyFault, UsageFault):
    """A secret cannot be one: an empty passphrase, a key file that is not 64 digits, the last slot removed."""

    code = "media.key_unfit"


class DamageFault(Fault):
    """The bytes are not the ones we wrote."""


class RepositoryTampered(KeyFault, DamageFault):
    """A key slot opens, but what the key signs was changed: parameters or a register are not what we wrote.

    Damage as well: one register that was changed must not hide the other recovery points.
    """

    code = "media.repository_tampered"


class ObjectUnreadable(RepositoryFault, DamageFault):
    """An object is there and the place answers, but not with these bytes: a bad sector, permissions of one file.

    Damage as well: one object that cannot be read must not hide the others.
    """

    code = "media.object_unreadable"


class ObjectArchived(ObjectUnreadable):
    """The object was moved to a class of storage that must thaw it before it can be read."""

    code = "media.object_archived"


class FormatTooNew(DamageFault):
    """Written by a later version: a format number or flag that this build does not know."""

    code = "media.format_too_new"


class ObjectForeign(DamageFault):
    """The object belongs to another repository, or to another name in this one."""

    code = "media.object_foreign"


class ObjectCorrupt(DamageFault):
    """A small object is truncated, malformed or fails its signature."""

    code = "media.object_corrupt"


class ContainerMissing(DamageFault):
    """A container that something refers to is gone."""

    code = "media.container_missing"


class ContainerUnreadable(DamageFault):
    """A container is there, but the place cannot read it, or not these bytes of it."""

    code = "media.container_unreadable"


class ContainerCorrupt(DamageFault):
    """A container's header, footer or trailer is not what we wrote."""

    code = "media.container_corrupt"


class RecordCorrupt(DamageFault):
    """A record's bytes are there, but they are not the ones we wrote."""

    code = "media.record_corrupt"


class RecordMissing(DamageFault):
    """The container is readable, but holds no record with this fingerprint."""

    code = "media.record_missing"


class RecordUnsealed(DamageFault):
    """An unsealed record in a pool whose encryption is on."""

    code = "media.record_unsealed"


class PageCorrupt(DamageFault):
    """A page decodes to something no writer makes, or is not the page that was referred to."""

    code = "media.page_corrupt"


class ExtentLost(DamageFault):
    """Bytes of a disk that were asked for cannot be brought back; `extent` says which, `fault` why."""

    code = "media.extent_lost"

    def __init__(self, disk: int, extent: Extent, fault: DamageFault) -> None:
        super().__init__(f"disk {disk}: {extent.length} bytes at {extent.offset}: {fault}")
        self.extent = extent
        self.fault = fault


class ParentDamaged(DamageFault):
    """Pages of the parent cannot be read, so nothing is inherited from it; a backup without a parent can be made."""

    code = "media.parent_damaged"


class PointMissing(UsageFault):
    """No such recovery point."""

    code = "media.point_missing"


class SessionEnded(Fault):
    """Somebody else ended this session: its register holds a tombstone."""

    code = "media.session_ended"
    retry = Retry.LATER


class SessionFull(Fault):
    """A session used up its container numbers. What it stored is found by the next one."""

    code = "media.session_full"
    retry = Retry.LATER


class SessionForeign(Fault):
    """The session is not of the job that names it, or nobody claimed it: it is neither ended nor answered."""

    code = "media.session_foreign"


class SessionUnknown(Fault):
    """Whether the commit happened, or is durable, could not be found out; the next run reads the register."""

    code = "media.session_unknown"
    retry = Retry.SOON  # a lost answer is no reason to wait for; what made it get lost has a fault of its own


class ParentUnfit(UsageFault):
    """The parent asked for cannot be one: expired, of another machine, or not the one the changes count from."""

    code = "media.parent_unfit"


class SourceFault(Fault):
    """Something about what is backed up."""


class DiskUnreadable(SourceFault):
    """A disk cannot be opened or read."""

    code = "media.disk_unreadable"


class DiskResized(SourceFault):
    """A disk grew or shrank while it was read."""

    code = "media.disk_resized"


class TargetExists(UsageFault):
    """A restore would overwrite something, and was not asked to."""

    code = "media.target_exists"


class TargetUnwritable(Fault):
    """A restore cannot write its target."""

    code = "media.target_unwritable"
