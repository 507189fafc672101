"""Which agents a CommServe serves: those of its own release and of the one before, never newer ones.

A release is `major.minor`; patches do not count. So the CommServe is upgraded first, and agents follow one by one.
"""

from __future__ import annotations

import re

from commserve.faults import AgentVersionUnfit

_VERSION = re.compile(r"(\d{1,6})\.(\d{1,6})(?:\.\d{1,6})?(?:[-+.a-z0-9]{0,40})?")


def check(agent: str, ours: str) -> None:
    """Raises AgentVersionUnfit, which says what to upgrade."""
    found = _VERSION.fullmatch(agent)
    if found is None:
        raise AgentVersionUnfit(f"expected an agent's version like {ours}, found {agent[:40]!r}")
    theirs, mine = _release(found), _release(_must(ours))
    if theirs > mine:
        raise AgentVersionUnfit(f"agent {agent} is newer than this CommServe, {ours}: upgrade the CommServe first")
    if theirs[0] == mine[0] and mine[1] - theirs[1] <= 1:
        return
    if theirs[0] == mine[0] - 1 and mine[1] == 0:
        return  # the last release of the major version before: which one that was, it knows itself
    raise AgentVersionUnfit(f"agent {agent} is older than the release before this CommServe, {ours}: upgrade the agent")


def _release(found: re.Match[str]) -> tuple[int, int]:
    return int(found[1]), int(found[2])


def _must(version: str) -> re.Match[str]:
    found = _VERSION.fullmatch(version)
    if found is None:
        raise ValueError(f"our own version {version!r}")
    return found
