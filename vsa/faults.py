"""What can be wrong with the disks of a machine, beyond what any source can suffer (media/faults.py)."""

from __future__ import annotations

from media.faults import SourceFault
from runtime.faults import Fault, Retry, UsageFault


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


class NbdAddressUnusable(UsageFault):
    """A server cannot listen where it was asked to."""

    code = "vsa.nbd_address_unusable"


class NbdMalformed(NbdFault):
    """The other side of an NBD connection sent what the protocol does not allow."""

    code = "vsa.nbd_malformed"


class NbdUrlWrong(NbdFault, UsageFault):
    """The URL of an NBD export is not one."""

    code = "vsa.nbd_url_wrong"


class NbdUnreachable(NbdFault):
    """No NBD server answers there."""

    code = "vsa.nbd_unreachable"
    retry = Retry.LATER


class NbdRefused(NbdFault):
    """The NBD server does not give us this export: unknown, not allowed, or not in a way that we understand."""

    code = "vsa.nbd_refused"


class NbdTlsFailed(NbdFault):
    """No TLS with this server: it has none, its certificate is not to be trusted, or it does not trust ours."""

    code = "vsa.nbd_tls_failed"


class NbdLost(NbdFault):
    """The connection to an NBD server was cut, or nothing came for too long."""

    code = "vsa.nbd_lost"
    retry = Retry.LATER


class NbdFailed(NbdFault):
    """The NBD server answered a command with an error."""

    code = "vsa.nbd_failed"


class HypervisorUnreachable(SourceFault):
    """A hypervisor does not answer, or a directory of images cannot be read."""

    code = "vsa.hypervisor_unreachable"
    retry = Retry.LATER


class CertificateRefused(SourceFault):
    """A vCenter shows a certificate that this agent was not told to trust."""

    code = "vsa.certificate_refused"


class HypervisorRefused(SourceFault):
    """A vCenter does not know the user, or it is not the user's password."""

    code = "vsa.hypervisor_refused"


class HypervisorBusy(SourceFault):
    """Something else is being done to the machine or another object of the hypervisor."""

    code = "vsa.hypervisor_busy"
    retry = Retry.LATER


class HypervisorFailed(SourceFault):
    """A hypervisor answered with a fault that has no name here; `name` is the one it has there."""

    code = "vsa.hypervisor_failed"
    retry = Retry.LATER

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.name = name


class SessionLost(SourceFault):
    """The session at a vCenter had ended. A new one was begun; what was asked for may have to be asked again."""

    code = "vsa.session_lost"
    retry = Retry.LATER


class PrivilegeMissing(SourceFault):
    """The user at the hypervisor may not do this; the message says which privilege is missing on what."""

    code = "vsa.privilege_missing"


class ObjectMissing(SourceFault):
    """The hypervisor has no such folder, host, datastore, snapshot or task any more."""

    code = "vsa.object_missing"


class TaskCancelled(SourceFault):
    """A task of the hypervisor was cancelled, there or by us."""

    code = "vsa.task_cancelled"


class DatastoreFull(SourceFault):
    """A datastore has too little space for this."""

    code = "vsa.datastore_full"
    retry = Retry.LATER


class PlaceMissing(UsageFault):
    """A restore names, or needs, a datastore, network, folder or pool that is not there, or that several are called."""

    code = "vsa.place_missing"


class HardwareUnsupported(UsageFault):
    """Machines with this version of virtual hardware cannot be made where a restore would make one."""

    code = "vsa.hardware_unsupported"


class MachineExists(UsageFault):
    """A machine has the name, in the folder, that a restore would give to another."""

    code = "vsa.machine_exists"


class IdentityTaken(UsageFault):
    """A restore that keeps uuids and MAC addresses meets a machine that has one of them."""

    code = "vsa.identity_taken"


class MachineRunning(UsageFault):
    """The disks of a machine that is turned on cannot be written."""

    code = "vsa.machine_running"


class MachineUnlike(Fault):
    """A machine that was made is not like the one that was saved: a device is missing, or is another one."""

    code = "vsa.machine_unlike"


class ReadBackDiffers(Fault):
    """What was read back from a restored disk is not what was written."""

    code = "vsa.read_back_differs"


class DatastoreFileFailed(SourceFault):
    """A small file of a machine, nvram or vmx, cannot be read from its datastore or put there."""

    code = "vsa.datastore_file_failed"
    retry = Retry.LATER


class MachineMissing(SourceFault):
    """The hypervisor knows no such machine any more."""

    code = "vsa.machine_missing"


class MachineUnfit(SourceFault):
    """A machine cannot be protected as it is; the message says why."""

    code = "vsa.machine_unfit"


class MachineMoved(SourceFault):
    """A machine or its disks moved to another host or datastore while they were read: what was read does not count."""

    code = "vsa.machine_moved"
    retry = Retry.LATER


class SnapshotFailed(SourceFault):
    """No snapshot of the machine could be made, or none as still as the plan asks for."""

    code = "vsa.snapshot_failed"
    retry = Retry.LATER


class SnapshotTooOld(SourceFault):
    """Reading a machine took longer than the plan lets a snapshot live."""

    code = "vsa.snapshot_too_old"
    retry = Retry.LATER


class TrackingUnusable(SourceFault):
    """A host does not tell what changed of a disk, or tells what cannot be: all of it is read."""

    code = "vsa.tracking_unusable"


class TransportFailed(SourceFault):
    """A disk of a snapshot could not be opened."""

    code = "vsa.transport_failed"
    retry = Retry.LATER


class NbdkitMissing(SourceFault):
    """nbdkit is needed to read the disks of this hypervisor, and is not installed."""

    code = "vsa.nbdkit_missing"
    retry = Retry.ELSEWHERE


class DescriptionInvalid(SourceFault):
    """The description of a machine is not what it should be; nothing of it was used."""

    code = "vsa.description_invalid"


class LandingRefused(UsageFault):
    """A restore would go where this agent's settings do not let restores go."""

    code = "vsa.landing_refused"


class HypervisorUnknown(UsageFault):
    """A kind of hypervisor, or its settings, that this build does not know."""

    code = "vsa.hypervisor_unknown"


class ImageFormatUnclear(SourceFault, UsageFault):
    """The image's first bytes say one format and its name does not; a guest may have written them. Say which."""

    code = "vsa.image_format_unclear"


class ImageMalformed(SourceFault):
    """The image is not what its format demands: damaged, cut off, or of another format than its name says."""

    code = "vsa.image_malformed"


class ImageUnsupported(SourceFault):
    """The image is whole, but of a kind that is not read here: encrypted, a delta of a snapshot, split in files."""

    code = "vsa.image_unsupported"


class ImageLocked(SourceFault):
    """Somebody, most likely a running machine, has the image open for writing."""

    code = "vsa.image_locked"
    retry = Retry.LATER


class BackingMissing(SourceFault):
    """The image builds on another file, and that one is not there."""

    code = "vsa.backing_missing"


class BackingRefused(SourceFault, UsageFault):
    """The image names a file to build on that it has no business with; whoever made the image may want to read it."""

    code = "vsa.backing_refused"


class SnapshotMissing(SourceFault, UsageFault):
    """The image has no internal snapshot of this name."""

    code = "vsa.snapshot_missing"


class QemuMissing(SourceFault):
    """qemu-nbd or qemu-img is needed for this image format, and is not installed."""

    code = "vsa.qemu_missing"
    retry = Retry.ELSEWHERE


class QemuFailed(SourceFault):
    """qemu-nbd or qemu-img ended with an error that has no name here."""

    code = "vsa.qemu_failed"


class CheckpointReused(SourceFault, UsageFault):
    """A checkpoint has the name of the one before it, so nobody can tell from which moment its bitmap counts."""

    code = "vsa.checkpoint_reused"


class MediaAgentUnreachable(Fault):
    """None of the MediaAgents that may take this work answers."""

    code = "vsa.media_agent_unreachable"
    retry = Retry.SOON


class RestoreUnfit(UsageFault):
    """A restore asks for what the recovery point does not have, or for what this build cannot write."""

    code = "vsa.restore_unfit"
