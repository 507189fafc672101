"""Disks of a recovery point into a machine of a hypervisor: made, overwritten where it differs, or given more disks."""

from __future__ import annotations

import json
import random
from typing import Any

from media.reader import Outcome
from proto import agents_pb2, restore_pb2
from proto.agent.work import Work
from runtime.tasks import worker_count
from vsa.backup.job import Means
from vsa.faults import DescriptionInvalid, RestoreUnfit
from vsa.hypervisors.receiving import DiskWanted, How, Order, Received
from vsa.media_agent import MediaAgentLine
from vsa.restore.remote_disk import RemoteDiskRestore, RemotePoint

_SAMPLES = 4  # segments of each disk that are read back

_HOW: dict[int, How] = {
    agents_pb2.MachineTarget.NEW: "new",
    agents_pb2.MachineTarget.IN_PLACE: "in_place",
    agents_pb2.MachineTarget.ATTACH: "attach",
}
_THIN = {agents_pb2.MachineTarget.THIN: True, agents_pb2.MachineTarget.THICK: False}


def restore_machine(
    work: Work, means: Means, line: MediaAgentLine, point: RemotePoint, disks: list[restore_pb2.PointDisk]
) -> tuple[dict[str, Any], list[Outcome]]:
    """What became of it, for the job's result, and of each disk.

    Raises RestoreUnfit, ReadBackDiffers, and what the hypervisor's `receive` does.
    """
    target = work.assignment.restore.machine
    order = _order(work, point, disks)
    compared = proven = 0
    outcomes = []
    with means.known.vcenter(target.hypervisor).receive(order) as received:
        about = received.about
        for disk in disks:
            restore = _restored(work, means, line, point, disk, received)
            outcomes.append(restore.outcome)
            compared += restore.compared_bytes
            with received.read(disk.disk) as written:
                proven += restore.prove(written, _SAMPLES, random.SystemRandom().sample)
        work.check()
        received.complete()
    return {**about, "compared_bytes": compared, "read_back_bytes": proven}, outcomes


def _restored(
    work: Work,
    means: Means,
    line: MediaAgentLine,
    point: RemotePoint,
    disk: restore_pb2.PointDisk,
    received: Received,
) -> RemoteDiskRestore:
    streams = means.workers or worker_count()
    with received.overwritten(disk.disk) as opened:
        present = None if received.is_empty(disk.disk) else opened
        restore = RemoteDiskRestore(line, point, disk, opened, streams, work.advance, present)
        restore.run()
        opened.finish()
    return restore


def _order(work: Work, point: RemotePoint, disks: list[restore_pb2.PointDisk]) -> Order:
    target = work.assignment.restore.machine
    if target.how not in _HOW:
        raise RestoreUnfit(f"restore into a machine: expected new, in place or attach, found {target.how}")
    try:
        description = json.loads(point.opened.description)
    except ValueError as error:
        raise DescriptionInvalid(f"{point.id}: description: {error}") from error
    return Order(
        job=work.assignment.job,
        how=_HOW[target.how],
        description=description,
        disks=[DiskWanted(disk.disk, disk.key, disk.size, disk.data_bytes) for disk in disks],
        warn=work.warnings.append,
        check=work.check,
        name=target.name,
        machine=target.machine or point.opened.point.machine_id,
        datastores=dict(target.datastores),
        networks=dict(target.networks),
        policies=dict(target.policies),
        folder=target.folder,
        pool=target.pool,
        thin=_THIN.get(target.provisioning),
        keep_identity=target.keep_identity,
        power_off=target.power_off,
        power_on=target.power_on,
    )
