"""Storage policies: a service beside a vCenter, asked within the session that we have at the vCenter.

A policy is an id that means something in its own vCenter alone. So a description keeps names, and a restore looks the
name up where the machine comes back. A single host has no policies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from pyVmomi import pbm
from pyVmomi.SoapAdapter import SoapStubAdapter

from media.recovery_point import JSON
from runtime.faults import Fault
from vsa.faults import HypervisorFailed
from vsa.hypervisors.vcenter.connection import Connection
from vsa.hypervisors.vcenter.devices import disk_key
from vsa.hypervisors.vcenter.stub import split_address

_PATH = "/pbm"  # as govmomi asks, which vcsim answers; samples of pyVmomi ask /pbm/sdk
_VERSION = "pbm.version.version11"  # of vCenter 6.5: before, pyVmomi cannot read the faults of vSphere in an answer
_CALL_SECONDS = 60.0


@dataclass(frozen=True)
class Policies:
    """Names of the policies of a machine's home and of its disks by their keys; empty: none of its own."""

    home: str = ""
    disks: Mapping[str, str] = field(default_factory=dict)
    unread: str = ""  # why they are not known

    def as_json(self) -> JSON:
        return asdict(self)


def read_policies(connection: Connection, machine: Any, disks: Iterable[Any]) -> Policies:
    """Of a machine and these devices of it. Raises nothing: a backup does not end for want of a name."""
    if not connection.is_vcenter:
        return Policies()
    key_by_entity = {f"{machine._moId}:{disk.key}": disk_key(disk) for disk in disks}
    try:
        names = connection.read(_names, connection, str(machine._moId), list(key_by_entity))
    except Fault as fault:
        return Policies(unread=str(fault))
    home = names.pop(str(machine._moId), "")
    return Policies(home, {key_by_entity[entity]: name for entity, name in names.items()})


def policy_ids(connection: Connection) -> dict[str, str]:
    """Of all that machines can be under, by their names. Raises what the vCenter does."""
    return connection.read(_ids, connection) if connection.is_vcenter else {}


def _ids(connection: Connection) -> dict[str, str]:
    with _profile_manager(connection) as manager:
        found = manager.QueryProfile(pbm.profile.ResourceType(resourceType="STORAGE"), "REQUIREMENT")
        profiles = manager.RetrieveContent(found) if found else []
    return {str(each.name): str(each.profileId.uniqueId) for each in profiles}


def _names(connection: Connection, machine: str, disks: Sequence[str]) -> dict[str, str]:
    """By `vm-7` and `vm-7:2000`: what has a policy of its own."""
    entities = [pbm.ServerObjectRef(objectType="virtualMachine", key=machine)]
    entities += [pbm.ServerObjectRef(objectType="virtualDiskId", key=each) for each in disks]
    with _profile_manager(connection) as manager:
        results = manager.QueryAssociatedProfiles(entities) or []
        for each in results:
            if each.fault is not None:
                raise each.fault
        under = {each.object.key: each.profileId[0].uniqueId for each in results if each.profileId}
        wanted = [pbm.profile.ProfileId(uniqueId=each) for each in sorted(set(under.values()))]
        profiles = manager.RetrieveContent(wanted) if wanted else []
    names = {each.profileId.uniqueId: str(each.name) for each in profiles}
    return {entity: names[profile] for entity, profile in under.items()}


@contextmanager
def _profile_manager(connection: Connection) -> Iterator[Any]:
    """Within the session that we have now, which such a service wants named in the head of each call."""
    host, port = split_address(connection.address)
    session = str(connection.stub.cookie or "").partition("=")[2].partition(";")[0].strip('"')
    stub = SoapStubAdapter(
        host=host,
        port=port,
        path=_PATH,
        version=_VERSION,
        sslContext=connection.context,
        requestContext={"vcSessionCookie": session},
        poolSize=1,
        httpConnectionTimeout=_CALL_SECONDS,
    )
    try:
        yield pbm.ServiceInstance("ServiceInstance", stub).RetrieveContent().profileManager
    except (
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
    ) as error:  # pyVmomi, of an answer with what it does not know
        raise HypervisorFailed(f"{connection.address}: {_PATH}: unreadable answer: {error!r}", "") from error
    finally:
        stub.DropConnections()
