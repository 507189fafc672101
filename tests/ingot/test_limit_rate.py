"""`--limit-rate`: what people write, and what it means."""

from __future__ import annotations

import pytest

from ingot.faults import UsageWrong
from ingot.limit_rate import rates_of
from runtime.pacing import Hours, Rates


def test_rates_are_bytes_a_second_with_a_unit_perhaps_by_the_hour() -> None:
    assert rates_of("20MiB") == Rates(20 << 20)
    assert rates_of("0.5GiB,20:00-06:30=none,12:00-13:00=100KiB") == Rates(
        512 << 20, (Hours(72000, 23400, None), Hours(43200, 46800, 100 << 10))
    )
    assert rates_of("none") == Rates(None)


@pytest.mark.parametrize(
    "text", ["", "20", "20MB", "-1MiB", "0MiB", "1MiB,", "1MiB,20:00=none", "1MiB,24:00-06:00=none", "1MiB,1-2=none"]
)
def test_what_is_no_rate_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageWrong, match="--limit-rate: expected"):
        rates_of(text)
