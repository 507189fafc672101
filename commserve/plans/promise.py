"""What a plan promises, as people write it and as the database keeps it: one definition for both.

Times of day are in the plan's own time zone. Zero means "no limit" everywhere.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

_PROBE = datetime(2024, 1, 1, tzinfo=UTC)  # a leap year lies ahead: the 29th of February is a day

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
ALL_DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
TimeOfDay = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$", examples=["22:00"])]
Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f/]+$")]
Count = Annotated[int, Field(ge=0, le=1_000_000)]
BytesPerSecond = Annotated[int, Field(ge=0, le=1 << 50)]


class Document(BaseModel):
    """Unknown keys are errors; what was read is not changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Hours(Document):
    """A part of the week. `to` before `from` ends on the next day; equal is the whole day."""

    days: tuple[Day, ...] = ALL_DAYS
    start: TimeOfDay = "00:00"
    end: TimeOfDay = "24:00"


class Bandwidth(Hours):
    """What all backups of the plan together may take in a part of the week."""

    bytes_per_second: BytesPerSecond


class Schedule(Document):
    """When backups are due: a cron expression in a time zone; none is due without one."""

    cron: str = Field(default="0 22 * * *", max_length=200, description="five fields; empty: only when somebody asks")
    time_zone: str = Field(default="UTC", max_length=64)
    windows: tuple[Hours, ...] = Field(default=(), max_length=50, description="backups start only inside; none: always")
    blackouts: tuple[Hours, ...] = Field(default=(), max_length=50, description="backups never start inside")
    jitter_minutes: Annotated[int, Field(ge=0, le=24 * 60)] = 0
    missed: Literal["skip", "once"] = Field(default="once", description="runs that were due while nobody looked")

    @field_validator("time_zone")
    @classmethod
    def _zone_is_known(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"no such time zone: {value!r}; expected one like Europe/Berlin") from error
        return value

    @field_validator("cron")
    @classmethod
    def _cron_can_be_read(cls, value: str) -> str:
        if not value:
            return value
        if len(value.split()) != 5:
            raise ValueError(f"expected five fields: minute hour day month weekday; found {len(value.split())}")
        try:
            next(CronSim(value, _PROBE))
        except CronSimError as error:
            raise ValueError(f"not a cron expression: {value!r}: {error}") from error
        except StopIteration as error:
            raise ValueError(f"never due: {value!r}") from error
        return value


class Retention(Document):
    """How many recovery points stay: the newest of each of the last N hours, days, ... that have one.

    Counted in points that are there, so time that passes without a backup takes nothing away.
    """

    last: Count = 0
    hourly: Count = 0
    daily: Count = 0
    weekly: Count = 0
    monthly: Count = 0
    yearly: Count = 0
    floor: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=2, description="so many of the newest points, and of the newest verified ones, stay whatever else says"
    )


class Limits(Document):
    """How much at once."""

    jobs: Count = Field(default=0, description="of this plan, at one time")
    jobs_per_hypervisor: Count = Field(default=0, description="of this plan, at one time on one hypervisor")
    first_backups: Count = Field(default=10, description="of machines without a recovery point, at one time")
    streams: Annotated[int, Field(ge=0, le=64)] = Field(
        default=0, description="of one backup; 0: as the agent sees fit"
    )
    attempts: Annotated[int, Field(ge=1, le=20)] = 3
    bandwidth: tuple[Bandwidth, ...] = Field(default=(), max_length=50, description="the first whose hours fit counts")


class Hold(Document):
    """How a machine is held still while it is read; only hypervisors that can do such things look at it."""

    quiesce: Literal["crash", "filesystem", "application"] = Field(
        default="application", description="what the guest is asked for; crash asks it for nothing"
    )
    fall_back: bool = Field(default=True, description="to the next lower level, with a warning; else the backup fails")
    exclude_disks: tuple[Annotated[str, Field(min_length=1, max_length=255)], ...] = Field(
        default=(), max_length=100, description="keys or names of disks that are left out"
    )
    snapshot_minutes: Annotated[int, Field(ge=5, le=30 * 24 * 60)] = Field(
        default=24 * 60, description="a backup whose snapshot is older gives up"
    )
    proof_days: Annotated[int, Field(ge=0, le=3650)] = Field(
        default=30, description="every part of a disk is read once in so many days, changed or not; 0: never"
    )


class Promise(Document):
    """A plan, but for its name and pool."""

    schedule: Schedule = Schedule()
    retention: Retention = Retention(daily=30)
    limits: Limits = Limits()
    hold: Hold = Hold()
    level: Annotated[int, Field(ge=1, le=19)] = Field(default=1, description="of compression")
    sla_minutes: Annotated[int, Field(ge=0, le=10 * 366 * 24 * 60)] = Field(
        default=0, description="the newest recovery point is never older; 0: nothing is promised"
    )

    @model_validator(mode="after")
    def _something_stays(self) -> Promise:
        kept = self.retention
        if not any((kept.last, kept.hourly, kept.daily, kept.weekly, kept.monthly, kept.yearly)):
            raise ValueError(
                "retention: at least one of last, hourly, daily, weekly, monthly and yearly must be above 0"
            )
        return self
