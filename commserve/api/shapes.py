"""What several resources have in common."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer

from commserve.moments import text_of

Id = Annotated[str, Field(max_length=200)]
Moment = Annotated[datetime, PlainSerializer(text_of, return_type=str, when_used="json")]


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("expected a time with its zone, like 2026-11-23T05:06:38Z")
    if not 1971 <= value.year <= 9000:
        raise ValueError("expected a year between 1971 and 9000")
    return value.astimezone(UTC)


MomentIn = Annotated[datetime, AfterValidator(_aware)]


class Input(BaseModel):
    """What comes in: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")
