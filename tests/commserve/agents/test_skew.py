"""Versions of agents that are served."""

from __future__ import annotations

import pytest

from commserve.agents.skew import check
from commserve.faults import AgentVersionUnfit


@pytest.mark.parametrize(
    ("agent", "ours"),
    [
        ("1.4.0", "1.4.2"),
        ("1.4.9", "1.4.2"),
        ("1.3.7", "1.4.0"),
        ("0.1.0", "0.1.0"),
        ("1.9.0", "2.0.1"),
        ("1.4", "1.4.0"),
    ],
)
def test_the_same_release_and_the_one_before_are_served(agent: str, ours: str) -> None:
    check(agent, ours)


@pytest.mark.parametrize(
    ("agent", "ours", "upgrade"),
    [
        ("1.5.0", "1.4.9", "upgrade the CommServe first"),
        ("2.0.0", "1.9.0", "upgrade the CommServe first"),
        ("1.2.9", "1.4.0", "upgrade the agent"),
        ("1.9.0", "2.1.0", "upgrade the agent"),
        ("0.9.0", "2.0.0", "upgrade the agent"),
        ("", "1.4.0", "expected an agent's version"),
        ("1.x", "1.4.0", "expected an agent's version"),
        ("1" * 5000, "1.4.0", "expected an agent's version"),
    ],
)
def test_others_are_refused_with_what_to_upgrade(agent: str, ours: str, upgrade: str) -> None:
    with pytest.raises(AgentVersionUnfit, match=upgrade):
        check(agent, ours)
