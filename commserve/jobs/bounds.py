"""How much is done at once to a hypervisor, its hosts and its datastores, by all its agents together."""

from __future__ import annotations

from typing import Any

from commserve.jobs.order import Limit

_USUAL = {  # as agents have
    "machines": 0,
    "machines_per_host": 8,
    "machines_per_datastore": 8,
    "disks_per_host": 48,
    "disks": 52,
}


def limit_of(hypervisor: Any) -> Limit:
    """Of a row. The `limits` of its settings, where its kind has hosts; 0 is no limit."""
    if hypervisor.kind != "vcenter":
        return Limit(jobs=hypervisor.concurrency)
    said = hypervisor.settings.get("limits") or {}
    most = {name: int(said.get(name, usual)) for name, usual in _USUAL.items()}
    return Limit(
        jobs=min((bound for bound in (hypervisor.concurrency, most["machines"]) if bound), default=0),
        jobs_per_host=most["machines_per_host"],
        jobs_per_datastore=most["machines_per_datastore"],
        disks_per_host=most["disks_per_host"],
        disks=most["disks"],
    )
