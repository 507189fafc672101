"""The settings of a hypervisor of kind `vcenter`, as the CommServe keeps them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vsa.faults import HypervisorUnknown
from vsa.hypervisors.vcenter.trust import FINGERPRINT_DIGITS, Trust


@dataclass(frozen=True)
class Settings:
    """`nbd` says how disks are reached (docs/vsphere.md); `limits` how much at once."""

    address: str
    user: str
    trust: Trust
    nbd: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, Any] = field(default_factory=dict)


def read_settings(name: str, settings: str) -> Settings:
    """Of hypervisor `name`, from JSON. Raises HypervisorUnknown."""
    try:
        said = json.loads(settings)
        address, user = said["address"], said["user"]
    except (ValueError, KeyError, TypeError) as error:
        raise HypervisorUnknown(f"hypervisor {name}: expected settings with an address and a user") from error
    if not isinstance(address, str) or not isinstance(user, str):
        raise HypervisorUnknown(f"hypervisor {name}: expected an address and a user that are texts")
    fingerprint = said.get("fingerprint") or None
    if fingerprint is not None:
        fingerprint = str(fingerprint).replace(":", "").lower()
        if len(fingerprint) != FINGERPRINT_DIGITS:
            raise HypervisorUnknown(f"hypervisor {name}: fingerprint: expected 64 hexadecimal digits")
    trust = Trust(said.get("authority") or None, fingerprint)
    return Settings(address, user, trust, said.get("nbd") or {}, said.get("limits") or {})
