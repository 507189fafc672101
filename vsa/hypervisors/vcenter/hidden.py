"""Machines that are the hypervisor's own: not shown, and refused by name.

In VMware Cloud on AWS the provider's machines (vCenter, NSX) can be seen and not touched. Agents of a cluster, such as
vCLS, are made and destroyed by the vCenter as it likes.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

_MANAGEMENT_POOL, _WORKLOAD_POOL = "Mgmt-ResourcePool", "Compute-ResourcePool"
_MANAGEMENT_FOLDER = "Management VMs"
_AGENCY = "com.vmware.vim.eam"
_SECONDARY = 2  # the first role of a fault-tolerant pair's second machine, which has its primary's uuids


def is_cloud(pools: Container[str]) -> bool:
    """Whether a vCenter with resource pools of these names is one of VMware Cloud on AWS."""
    return _MANAGEMENT_POOL in pools and _WORKLOAD_POOL in pools


def why_hidden(values: Mapping[str, Any], folder: str, pool: str, *, cloud: bool) -> str | None:
    """Why a machine with these properties is not one to protect; None where it is."""
    managed = values.get("config.managedBy")
    if managed is not None and managed.extensionKey == _AGENCY:
        return "it is an agent of its cluster, which the vCenter makes anew"
    fault_tolerance = values.get("config.ftInfo")
    if fault_tolerance is not None and (fault_tolerance.role or 0) >= _SECONDARY:
        return "it is the second machine of a fault-tolerant pair, and its primary is protected"
    if cloud and (_MANAGEMENT_POOL in pool.split("/") or _MANAGEMENT_FOLDER in folder.split("/")):
        return "it is a management machine of VMware Cloud, which only the provider may touch"
    return None
