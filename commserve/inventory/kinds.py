"""Kinds of hypervisor, and the settings that each takes. What they do with them, their agents know.

`images`: a directory of disk images on the agent's machine. `vcenter`: a vCenter, an ESXi host, or that of a VMware
Cloud; its password is the hypervisor's secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from commserve.faults import RequestInvalid


class Images(BaseModel):
    """A directory; each folder or image file in it is a machine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    directory: Annotated[str, Field(pattern=r"^/[^\x00]*$", max_length=4000)]


class Nbd(BaseModel):
    """How the disks of machines are reached: by the customer's VDDK, or by an NBD server of his own at a URL."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    vddk: Annotated[str, Field(pattern=r"^/[^\x00]*$", max_length=4000)] | None = None
    url: Annotated[str, Field(pattern=r"^nbd", max_length=4000)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.vddk is None) == (self.url is None):
            raise ValueError("expected either vddk or url")
        return self


class Vcenter(BaseModel):
    """Its certificate is always checked: by the system's authorities, by `authority`, or it is `fingerprint`'s."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: Annotated[str, Field(pattern=r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?$", max_length=300)]
    user: Annotated[str, Field(min_length=1, max_length=300)]
    authority: Annotated[str, Field(pattern=r"-----BEGIN CERTIFICATE-----", max_length=100_000)] | None = None
    fingerprint: Annotated[str, Field(pattern=r"^[0-9A-Fa-f]{2}(:?[0-9A-Fa-f]{2}){31}$")] | None = None
    nbd: Nbd | None = None
    limits: dict[Annotated[str, Field(max_length=50)], Annotated[int, Field(strict=True, ge=0)]] = Field(
        default={}, max_length=20
    )


KINDS: dict[str, type[BaseModel]] = {"images": Images, "vcenter": Vcenter}
FOLLOWED = frozenset({"vcenter"})  # kinds that tell what changes, as it changes
_WITH_SECRET = frozenset({"vcenter"})


def needs_secret(kind: str) -> bool:
    """Whether its agents log in somewhere."""
    return kind in _WITH_SECRET


def check_secret(kind: str, agents: Sequence[str], secret: str | None) -> None:
    """Of a hypervisor that is new. Raises RequestInvalid where a kind needs a secret, for agents that are named."""
    if kind in _WITH_SECRET and not secret:
        raise RequestInvalid(f"secret: a hypervisor of kind {kind} needs the password of its user")
    if kind in _WITH_SECRET and not agents:
        raise RequestInvalid("agents: expected the VSAs that the password is sealed to, found none")


def check_settings(kind: str, settings: dict[str, object]) -> None:
    """Raises RequestInvalid where a kind is unknown or its settings are not what it takes."""
    model = KINDS.get(kind)
    if model is None:
        raise RequestInvalid(f"kind: expected one of {', '.join(sorted(KINDS))}; found {kind!r}")
    try:
        model.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in ("settings", *first["loc"]))
        raise RequestInvalid(f"{where}: {first['msg']}") from error
