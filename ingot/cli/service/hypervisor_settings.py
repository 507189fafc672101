"""From options to the settings of a kind of hypervisor, and to its secret."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Any

from ingot.cli.screen import Screen
from ingot.faults import UsageWrong


class Kind(enum.StrEnum):
    """What a hypervisor can be."""

    IMAGES = "images"
    VCENTER = "vcenter"


def images_settings(directory: Path | None) -> dict[str, Any]:
    """Raises UsageWrong."""
    if directory is None:
        raise UsageWrong("expected --images DIR, or --kind vcenter with --address, --user and --password-file")
    return {"directory": str(directory.absolute())}


def vcenter_settings(
    address: str | None,
    user: str | None,
    fingerprint: str | None,
    ca_file: Path | None,
    vddk: Path | None,
    nbd_url: str | None,
) -> dict[str, Any]:
    """What was not said is left out. Raises UsageWrong."""
    if address is None or user is None:
        raise UsageWrong("expected --address and --user of the vCenter")
    if fingerprint is not None and ca_file is not None:
        raise UsageWrong("expected either --fingerprint or --ca-file, found both")
    if vddk is not None and nbd_url is not None:
        raise UsageWrong("expected either --vddk or --nbd-url, found both")
    settings: dict[str, Any] = {"address": address, "user": user}
    if fingerprint is not None:
        settings["fingerprint"] = fingerprint.replace(":", "").lower()
    if ca_file is not None:
        settings["authority"] = _text(ca_file)
    if vddk is not None:
        settings["nbd"] = {"vddk": str(vddk.absolute())}
    if nbd_url is not None:
        settings["nbd"] = {"url": nbd_url}
    return settings


def vcenter_password(file: Path | None, screen: Screen) -> str:
    """Raises UsageWrong, SecretUnreadable."""
    from ingot.cli.secret import line_in

    if file is None:
        raise UsageWrong("expected --password-file with the password of the vCenter's user")
    return line_in(file, screen)


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageWrong(f"{file}: cannot be read: {error}") from error
