"""Rules give machines to plans: the first that matches wins, and one without a plan excludes.

A machine that a rule matches is protected from its next due time on, without anyone acting. The machines of a rule are
a group: what people are bound to.
"""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Pattern = Annotated[str, Field(min_length=1, max_length=300)]
Patterns = Annotated[tuple[Pattern, ...], Field(max_length=100)]


class Conditions(BaseModel):
    """What a rule matches: all that is said must hold, one of the values each. Nothing said matches every machine.

    Patterns know `*`, `?` and `[abc]`, and do not look at case.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    names: Patterns = ()
    folders: Patterns = Field(default=(), description="the folder or one above it; patterns may name both")
    tags: Patterns = ()
    power_states: tuple[Literal["on", "off", "suspended", "unknown"], ...] = ()
    attributes: dict[str, Pattern] = Field(default={}, max_length=50)
    resource_pools: Patterns = Field(default=(), description="the pool or one above it, as of folders")


@dataclass(frozen=True)
class Rule:
    """`plan_id` is None where the rule excludes."""

    id: str
    plan_id: str | None
    conditions: Conditions


def assign(machine: Mapping[Any, Any], rules: Sequence[Rule]) -> Rule | None:
    """The first rule, in their order, that matches a machine; None where it stays unprotected."""
    return next((rule for rule in rules if matches(rule.conditions, machine)), None)


def matches(conditions: Conditions, machine: Mapping[Any, Any]) -> bool:
    """Whether a machine (a row, or what has its keys) is one of these."""
    if conditions.names and not _one_of(conditions.names, machine["name"]):
        return False
    if conditions.folders and not any(_one_of(conditions.folders, folder) for folder in _upwards(machine["folder"])):
        return False
    pools = conditions.resource_pools
    if pools and not any(_one_of(pools, pool) for pool in _upwards(machine["resource_pool"])):
        return False
    if conditions.tags and not any(_one_of(conditions.tags, tag) for tag in machine["tags"]):
        return False
    if conditions.power_states and machine["power_state"] not in conditions.power_states:
        return False
    attributes = machine["attributes"]
    return all(_one_of((pattern,), attributes.get(name, "")) for name, pattern in conditions.attributes.items())


def _upwards(folder: str) -> list[str]:
    """`a/b/c`, `a/b`, `a`; a folder is written without slashes at its ends."""
    parts = [part for part in folder.split("/") if part]
    return ["/".join(parts[:count]) for count in range(len(parts), 0, -1)] or [""]


def _one_of(patterns: Sequence[str], text: str) -> bool:
    return any(_compiled(pattern)(text) is not None for pattern in patterns)


@functools.lru_cache(maxsize=4096)
def _compiled(pattern: str) -> Callable[[str], re.Match[str] | None]:
    return re.compile(fnmatch.translate(pattern.strip("/") or pattern), re.IGNORECASE).match
