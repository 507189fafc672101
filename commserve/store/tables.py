"""The tables. Times are microseconds since 1970 in UTC in the database, `datetime` in Python; documents are JSON.

`migrations/` makes them; a test holds both equal.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

ACTIVE = ("QUEUED", "ASSIGNED", "RUNNING", "COMMITTING", "CANCELLING")


class Instant(sa.types.TypeDecorator[datetime]):
    """A moment in UTC, to the microsecond."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> int | None:  # noqa: ARG002
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else _EPOCH + value * _MICROSECOND


metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)


def _id() -> sa.Column[str]:
    return sa.Column("id", sa.Text, primary_key=True)


def _to(name: str, target: sa.Table, *, key: bool = False, null: bool = False, gone: str = "CASCADE") -> sa.Column[str]:
    return sa.Column(name, sa.Text, sa.ForeignKey(target.c.id, ondelete=gone), primary_key=key, nullable=null)


def _text(name: str, default: str = "") -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, default=default, server_default=default)


def _count(name: str, default: int = 0) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, default=default, server_default=str(default))


def _flag(name: str, default: bool = False) -> sa.Column[bool]:
    return sa.Column(
        name, sa.Boolean, nullable=False, default=default, server_default=sa.true() if default else sa.false()
    )


def _document(name: str, default: str = "{}") -> sa.Column[Any]:
    make = dict if default == "{}" else list
    return sa.Column(name, sa.JSON, nullable=False, default=make, server_default=default)


def _at(name: str, *, null: bool = True) -> sa.Column[datetime]:
    return sa.Column(name, Instant, nullable=null)


agents = sa.Table(
    "agents",
    metadata,
    _id(),
    _text("role"),  # vsa | mediaagent
    sa.Column("name", sa.Text, nullable=False, unique=True),
    _text("state", "joined"),  # joined | active | draining | revoked
    _text("host"),
    _text("version"),
    _text("boot_id"),
    _document("capabilities", "[]"),
    _document("addresses", "[]"),
    sa.Column("sealing_key", sa.LargeBinary),
    _count("bytes_per_second"),  # 0: no limit
    sa.Column("clock_ahead_ms", sa.BigInteger),  # of ours; behind where negative
    _document("troubles", "[]"),  # the last warnings and errors of its log
    _at("joined_at", null=False),
    _at("seen_at"),
    _at("certificate_expires_at"),
    _at("revoked_at"),
)

join_tokens = sa.Table(
    "join_tokens",
    metadata,
    _id(),
    _text("secret_hash"),
    _text("role"),
    _text("name"),
    _text("created_by"),
    _at("created_at", null=False),
    _at("expires_at", null=False),
    _at("used_at"),
)

hypervisors = sa.Table(
    "hypervisors",
    metadata,
    _id(),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    _text("kind"),
    _document("settings"),
    _count("concurrency", 4),
    _count("discover_minutes", 15),
    _at("created_at", null=False),
    _at("discovered_at"),
)

hypervisor_agents = sa.Table(
    "hypervisor_agents", metadata, _to("hypervisor_id", hypervisors, key=True), _to("agent_id", agents, key=True)
)

pools = sa.Table(
    "pools",
    metadata,
    _id(),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    _text("url"),
    sa.Column("repository_id", sa.Text, unique=True),  # the repository's UUID, once it is made
    _text("state", "making"),  # making | ready | failed
    _text("reason"),
    _count("bytes_per_second"),
    _at("created_at", null=False),
    _at("read_at"),  # its recovery points
)

pool_agents = sa.Table("pool_agents", metadata, _to("pool_id", pools, key=True), _to("agent_id", agents, key=True))

sealed_secrets = sa.Table(
    "sealed_secrets",
    metadata,
    sa.Column("owner", sa.Text, primary_key=True),  # hypervisor:<id> | pool:<id>
    _to("agent_id", agents, key=True),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    _at("sealed_at", null=False),
)

plans = sa.Table(
    "plans",
    metadata,
    _id(),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    _to("pool_id", pools, null=True, gone="RESTRICT"),
    _flag("enabled", True),
    _document("promise"),
    _at("created_at", null=False),
    _at("next_due_at"),
    _at("looked_at"),  # the schedule is done up to here
)

rules = sa.Table(
    "rules",
    metadata,
    _id(),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    _count("position"),
    _to("plan_id", plans, null=True, gone="RESTRICT"),  # none: an exclusion
    _document("conditions"),
    _at("created_at", null=False),
)

machines = sa.Table(
    "machines",
    metadata,
    _id(),  # the hypervisor's: what recovery points are named by
    _to("hypervisor_id", hypervisors),
    _text("name"),
    _text("folder"),
    _document("tags", "[]"),
    _text("power_state", "unknown"),
    _document("attributes"),
    _document("disks", "[]"),
    _count("size_bytes"),
    _flag("protectable", True),
    _text("reason"),
    _text("source"),
    _to("rule_id", rules, null=True, gone="SET NULL"),
    _to("plan_id", plans, null=True, gone="SET NULL"),
    _text("excluded_reason"),
    _text("excluded_by"),
    _at("excluded_until"),
    _count("strikes"),
    _at("last_point_at"),
    _at("first_seen_at", null=False),
    _at("last_seen_at", null=False),
    _at("gone_at"),
    _text("resource_pool"),
    _text("host"),
    _document("datastores", "[]"),
    _document("leftovers"),  # {"snapshots": [{"job", "fence", "taken_at"}], "consolidation_needed", "restoring"}
    _text("seen_as"),  # what its hypervisor calls it, where that is another id than ours; empty where it is not
)
sa.Index(None, machines.c.hypervisor_id, machines.c.id)
sa.Index(None, machines.c.plan_id, machines.c.id)
sa.Index(None, machines.c.rule_id)

runs = sa.Table(
    "runs",
    metadata,
    _id(),
    _to("plan_id", plans),
    _at("due_at", null=False),
    _text("state", "RUNNING"),  # RUNNING | DONE | PARTIAL | FAILED | EMPTY
    _count("coalesced"),
    _at("created_at", null=False),
    _at("ended_at"),
    sa.UniqueConstraint("plan_id", "due_at"),
)
sa.Index(None, runs.c.ended_at)

jobs = sa.Table(
    "jobs",
    metadata,
    _id(),
    _text("kind"),
    _text("role"),  # of the agent that can do it
    sa.Column("subject", sa.Text, nullable=False),  # what only one job at a time may work on
    _text("state", "QUEUED"),
    _to("run_id", runs, null=True, gone="SET NULL"),
    _to("plan_id", plans, null=True, gone="SET NULL"),
    _to("rule_id", rules, null=True, gone="SET NULL"),
    _to("hypervisor_id", hypervisors, null=True, gone="SET NULL"),
    _to("pool_id", pools, null=True, gone="SET NULL"),
    sa.Column("machine_id", sa.Text),  # no key: a machine may be gone while its jobs are told of
    _text("machine_name"),
    _to("wanted_agent_id", agents, null=True, gone="SET NULL"),
    _count("urgency", 1),  # 0: somebody waits for it
    _flag("first"),  # of a machine that has no point yet
    _count("streams", 1),
    _document("arguments"),
    _text("requested_by"),
    _text("trace"),  # 32 hexadecimal digits: what was asked for together, or became due together
    _at("created_at", null=False),
    _at("not_before_at", null=False),
    _at("deadline_at", null=False),
    _at("queued_at", null=False),
    _count("attempts"),
    _count("attempts_allowed", 3),
    _count("returns"),
    _document("avoided", "[]"),
    # the lease
    _count("fence"),
    sa.Column("assignment_id", sa.Text, unique=True),
    _to("agent_id", agents, null=True, gone="SET NULL"),
    _text("boot_id"),
    _at("lease_until"),
    _at("cancel_at"),
    _text("cancelled_by"),
    # how it goes
    _text("phase"),
    _count("done_bytes"),
    _count("total_bytes"),
    _count("read_bytes"),
    _count("new_bytes"),
    _count("stored_bytes"),
    _at("progress_at"),
    _count("sid"),
    # how it ended
    _document("result"),
    _document("warnings", "[]"),
    _text("fault_code"),
    _text("fault_message"),
    _text("fault_retry"),
    _at("started_at"),
    _at("ended_at"),
)
_is_active = jobs.c.state.in_([sa.literal_column(f"'{state}'") for state in ACTIVE])
sa.Index("uq_jobs_active_subject", jobs.c.subject, unique=True, sqlite_where=_is_active, postgresql_where=_is_active)
sa.Index("ix_jobs_queue", jobs.c.state, jobs.c.role, jobs.c.plan_id, jobs.c.urgency, jobs.c.deadline_at)
sa.Index(None, jobs.c.machine_id, jobs.c.id)
sa.Index(None, jobs.c.run_id, jobs.c.state)
sa.Index(None, jobs.c.plan_id, jobs.c.id)
sa.Index(None, jobs.c.ended_at)
sa.Index(None, jobs.c.hypervisor_id, jobs.c.kind, jobs.c.id)
sa.Index(None, jobs.c.pool_id, jobs.c.kind, jobs.c.id)

leases = sa.Table(
    "leases",
    metadata,
    _to("job_id", jobs, key=True),
    sa.Column("fence", sa.BigInteger, primary_key=True),
    sa.Column("agent_id", sa.Text, nullable=False),
    sa.Column("agent_name", sa.Text, nullable=False),
    _at("leased_at", null=False),
    _at("ended_at"),
    _text("outcome"),
    _text("fault_code"),
    _text("fault_message"),
)

points = sa.Table(
    "points",
    metadata,
    _to("pool_id", pools, key=True),
    sa.Column("id", sa.Text, primary_key=True),  # 10 hexadecimal digits
    _text("machine_id"),
    _text("machine_name"),
    _at("time", null=False),
    _text("parent"),
    _count("disk_bytes"),
    _count("data_bytes"),
    _count("stored_bytes"),
    _flag("expired"),
    _document("marks", "[]"),
)
sa.Index(None, points.c.machine_id, points.c.time)

users = sa.Table(
    "users",
    metadata,
    _id(),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    _text("password_hash"),  # empty: no password lets in
    _flag("disabled"),
    _at("created_at", null=False),
)

tokens = sa.Table(
    "tokens",
    metadata,
    _id(),
    _to("user_id", users),
    _text("name"),
    _text("secret_hash"),
    _document("permissions", "[]"),  # empty: all that the user has
    _at("created_at", null=False),
    _at("expires_at"),
)

bindings = sa.Table(
    "bindings",
    metadata,
    _id(),
    _to("user_id", users),
    _text("role"),
    _text("scope_kind", "everything"),  # everything | hypervisor | plan | group
    _text("scope_id"),
    _at("created_at", null=False),
    sa.UniqueConstraint("user_id", "role", "scope_kind", "scope_id"),
)

answers = sa.Table(
    "answers",
    metadata,
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    _text("request_hash"),  # keyed by the token that it came with
    sa.Column("status", sa.Integer, nullable=False),
    _text("body"),  # empty: it held a secret
    _text("location"),
    _at("created_at", null=False),
)
sa.Index(None, answers.c.created_at)

counters = sa.Table("counters", metadata, sa.Column("name", sa.Text, primary_key=True), _count("value"))
