"""Kinds of hypervisor, and the settings that each takes. What they do with them, their agents know.

`images`: a directory of disk images on the agent's machine.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from commserve.faults import RequestInvalid


class Images(BaseModel):
    """A directory; each folder or image file in it is a machine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    directory: Annotated[str, Field(pattern=r"^/[^\x00]*$", max_length=4000)]


KINDS: dict[str, type[BaseModel]] = {"images": Images}


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
