"""One formula for deadline and report."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from commserve.plans.promise import Promise
from commserve.plans.sla import deadline, is_met

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@given(st.integers(1, 10_000), st.integers(0, 20_000))
def test_the_promise_is_met_exactly_until_its_deadline(minutes: int, age: int) -> None:
    promise = Promise(sla_minutes=minutes)
    last = NOW - timedelta(minutes=age)
    assert is_met(promise, last, NOW) == (deadline(promise, last, NOW) >= NOW)


def test_a_machine_without_a_point_does_not_meet_a_promise() -> None:
    assert not is_met(Promise(sla_minutes=60), None, NOW)
    assert is_met(Promise(), None, NOW)
