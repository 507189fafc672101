"""Which storage policies a new machine is put under, looked up by name before anything is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyVmomi import vim

from vsa.faults import HypervisorFailed, PlaceMissing, PrivilegeMissing
from vsa.hypervisors.vcenter.connection import Connection
from vsa.hypervisors.vcenter.destination import shown
from vsa.hypervisors.vcenter.policies import Policies, policy_ids


@dataclass(frozen=True)
class Profiles:
    """What puts its home, and its disks by their keys, under policies; empty: what the datastore gives by itself."""

    home: Sequence[Any] = ()
    disks: Mapping[str, Sequence[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Choice:
    was: str
    wanted: str


def choose_profiles(
    connection: Connection, saved: Policies, asked: Mapping[str, str], disks: Iterable[str]
) -> Profiles:
    """For a machine with these disks: the policy that was `asked` for, else the one of the same name.

    Raises PlaceMissing.
    """
    home = _choice(saved.home, asked)
    by_key = {key: _choice(saved.disks.get(key, ""), asked) for key in disks}
    named = [each for each in (home, *by_key.values()) if each.wanted]
    if not named:
        return Profiles()
    ids = _ids_there(connection, named[0].wanted)
    return Profiles(_profile(home, ids), {key: _profile(each, ids) for key, each in by_key.items()})


def _choice(name: str, asked: Mapping[str, str]) -> _Choice:
    return _Choice(name, asked.get(name, asked.get("", name)))


def _profile(choice: _Choice, ids: Mapping[str, str]) -> list[Any]:
    if not choice.wanted:
        return []
    if choice.wanted not in ids:
        raise PlaceMissing(
            f"storage policy {choice.wanted!r} is not there; there are {shown(list(ids))}; "
            f"--policy '{choice.was}=NAME' names another, "
            f"--policy '{choice.was}=' takes what the datastore gives by itself"
        )
    return [vim.vm.DefinedProfileSpec(profileId=ids[choice.wanted])]


def _ids_there(connection: Connection, name: str) -> Mapping[str, str]:
    try:
        return policy_ids(connection)
    except (PrivilegeMissing, HypervisorFailed) as fault:
        raise PlaceMissing(
            f"storage policy {name!r} cannot be looked up; --policy = takes what datastores give by themselves: {fault}"
        ) from fault
