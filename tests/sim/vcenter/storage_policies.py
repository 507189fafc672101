"""Storage policies (/pbm): what there is, and what homes and disks of machines are under. A service beside the vCenter,
with objects and a namespace of its own, which knows a caller by his session at the vCenter.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from pyVmomi import pbm, vim, vmodl

from tests.sim.vcenter.machine import Machine
from tests.sim.vcenter.objects import Call, Simulated, serves

VIEW = "StorageProfile.View"
_SINCE = datetime(2024, 1, 1, tzinfo=UTC)
_HOME = 0  # no device has this key


class StoragePolicies:
    """`answers` is False for a server that has no such service."""

    def __init__(self, vcenter: Any) -> None:
        self.vcenter = vcenter
        self.answers = True
        self.name_by_id: dict[str, str] = {}
        self._under: dict[str, dict[int, str]] = {}  # moid -> device key -> id
        objects = (_Service(vcenter, "ServiceInstance"), _Profiles(vcenter, "ProfileManager"))
        self._objects = {each.moid: each for each in objects}

    def find(self, moid: str) -> Simulated | None:
        return self._objects.get(moid)

    def add(self, *names: str) -> None:
        """Control: policies that there are from now on."""
        for name in names:
            self.name_by_id[str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.vcenter.instance_uuid}/{name}"))] = name

    def assign(self, machine: Machine, home: str = "", disks: dict[int, str] | None = None) -> None:
        """Control: names of policies, of disks by device key."""
        ids = {name: key for key, name in self.name_by_id.items()}
        wanted = {_HOME: home, **(disks or {})}
        self._under[machine.moid] = {key: ids[name] for key, name in wanted.items() if name}

    def of(self, machine: Machine) -> dict[int, str]:
        """Names by device key; 0 is the home."""
        return {key: self.name_by_id[each] for key, each in self._under.get(machine.moid, {}).items()}

    def check(self, spec: Any) -> None:
        """Raises InvalidArgument: a specification names a policy that there is not."""
        for where, profiles in (
            ("vmProfile", spec.vmProfile),
            *(("profile", each.profile) for each in spec.deviceChange),
        ):
            if any(each not in self.name_by_id for each in _ids(profiles)):
                raise vmodl.fault.InvalidArgument(invalidProperty=where, msg="The storage policy does not exist.")

    def apply(self, machine: Machine, spec: Any) -> None:
        """After the devices of a specification have their keys."""
        under = self._under.setdefault(machine.moid, {})
        for each in _ids(spec.vmProfile):
            under[_HOME] = each
        for change in spec.deviceChange:
            key = machine.new_keys.get(change.device.key, change.device.key)
            if str(change.operation) == "remove":
                under.pop(key, None)
            for each in _ids(change.profile):
                under[key] = each

    def policy_of(self, entity: Any) -> str | None:
        """The id for a reference to a machine, `vm-7`, or to a disk, `vm-7:2000`. Raises PbmFaultNotFound."""
        moid, _, key = entity.key.partition(":")
        machine = self.vcenter.find(moid)
        if not isinstance(machine, Machine) or (key and machine.device(int(key)) is None):
            raise pbm.fault.NotFound(msg=f"no {entity.objectType} {entity.key}")
        return self._under.get(moid, {}).get(int(key or _HOME))


def _ids(profiles: Any) -> list[str]:
    return [each.profileId for each in profiles or [] if isinstance(each, vim.vm.DefinedProfileSpec)]


class _Service(Simulated):
    kind = pbm.ServiceInstance


class _Profiles(Simulated):
    kind = pbm.profile.ProfileManager


@serves(pbm.ServiceInstance, "PbmRetrieveServiceContent")
def service_content(call: Call, service: _Service) -> Any:
    return pbm.ServiceInstanceContent(
        aboutInfo=pbm.AboutInfo(name="PBM", version="8.0.2", instanceUuid=call.vcenter.instance_uuid),
        sessionManager=pbm.auth.SessionManager("SessionManager"),
        capabilityMetadataManager=pbm.capability.CapabilityMetadataManager("CapabilityMetadataManager"),
        profileManager=pbm.profile.ProfileManager("ProfileManager"),
        complianceManager=pbm.compliance.ComplianceManager("complianceManager"),
        placementSolver=pbm.placement.PlacementSolver("placementSolver"),
    )


@serves(pbm.profile.ProfileManager, "PbmQueryProfile", VIEW)
def query_profile(call: Call, profiles: _Profiles, resourceType: Any, profileCategory: str | None = None) -> list[Any]:
    if resourceType.resourceType != "STORAGE":
        raise vmodl.fault.InvalidArgument(invalidProperty="resourceType")
    if profileCategory not in (None, "REQUIREMENT"):
        return []
    return [pbm.profile.ProfileId(uniqueId=each) for each in call.vcenter.policies.name_by_id]


@serves(pbm.profile.ProfileManager, "PbmRetrieveContent", VIEW)
def retrieve_profiles(call: Call, profiles: _Profiles, profileIds: list[Any]) -> list[Any]:
    names = call.vcenter.policies.name_by_id
    if not profileIds or any(each.uniqueId not in names for each in profileIds):
        raise vmodl.fault.InvalidArgument(invalidProperty="profileIds")
    return [
        pbm.profile.CapabilityBasedProfile(
            profileId=each,
            name=names[each.uniqueId],
            creationTime=_SINCE,
            createdBy="Temporary user handle",
            lastUpdatedTime=_SINCE,
            lastUpdatedBy="Temporary user handle",
            profileCategory="REQUIREMENT",
            resourceType=pbm.profile.ResourceType(resourceType="STORAGE"),
            constraints=pbm.profile.CapabilityConstraints(),
            isDefault=False,
        )
        for each in profileIds
    ]


@serves(pbm.profile.ProfileManager, "PbmQueryAssociatedProfile", VIEW)
def associated_profile(call: Call, profiles: _Profiles, entity: Any) -> list[Any]:
    found = call.vcenter.policies.policy_of(entity)
    return [] if found is None else [pbm.profile.ProfileId(uniqueId=found)]


@serves(pbm.profile.ProfileManager, "PbmQueryAssociatedProfiles", VIEW)
def associated_profiles(call: Call, profiles: _Profiles, entities: list[Any]) -> list[Any]:
    found = []
    for entity in entities:
        result = pbm.profile.QueryProfileResult(object=entity)
        try:
            result.profileId = associated_profile(call, profiles, entity)
        except pbm.fault.NotFound as fault:
            result.fault = fault
        found.append(result)
    return found
