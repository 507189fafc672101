"""From what the CommServe says of a hypervisor to the hypervisor."""

from __future__ import annotations

import json
from pathlib import Path

from runtime.clock import Clock
from vsa.faults import HypervisorUnknown
from vsa.hypervisors import Hypervisor
from vsa.hypervisors.images import ImagesHypervisor


def open_hypervisor(name: str, kind: str, settings: str, clock: Clock) -> Hypervisor:
    """`settings` is a JSON object; for kind `images` {"directory": "/path"}. Raises HypervisorUnknown."""
    if kind != "images":
        raise HypervisorUnknown(f"hypervisor {name}: kind {kind!r} is not known to this build; known are images")
    try:
        directory = json.loads(settings)["directory"]
    except (ValueError, KeyError, TypeError) as error:
        raise HypervisorUnknown(f"hypervisor {name}: expected settings with a directory, found {settings!r}") from error
    if not isinstance(directory, str) or not directory.startswith("/"):
        raise HypervisorUnknown(f"hypervisor {name}: expected an absolute directory, found {directory!r}")
    return ImagesHypervisor(name, Path(directory), clock)
