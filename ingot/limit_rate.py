"""`--limit-rate`: `20MiB` a second, or by the time of day: `20MiB,20:00-06:00=none`."""

from __future__ import annotations

import re

from ingot.faults import UsageWrong
from runtime.pacing import Hours, Rates

_RATE = re.compile(r"(\d+(?:\.\d+)?)(KiB|MiB|GiB)")
_HOURS = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)=(.+)")
_FACTORS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_FORM = "as 20MiB, or 20MiB,20:00-06:00=none"


def rates_of(text: str) -> Rates:
    """Raises UsageWrong."""
    usual, *parts = text.split(",")
    return Rates(_rate(usual), tuple(_hours(part) for part in parts))


def _rate(text: str) -> float | None:
    if text == "none":
        return None
    found = _RATE.fullmatch(text)
    if found is None or float(found[1]) == 0:
        raise UsageWrong(f"--limit-rate: expected bytes a second {_FORM}; found {text!r}")
    return float(found[1]) * _FACTORS[found[2]]


def _hours(text: str) -> Hours:
    found = _HOURS.fullmatch(text)
    if found is None:
        raise UsageWrong(f"--limit-rate: expected hours and a rate {_FORM}; found {text!r}")
    start_hour, start_minute, end_hour, end_minute = (int(each) for each in found.groups()[:4])
    if max(start_hour, end_hour) > 23 or max(start_minute, end_minute) > 59:
        raise UsageWrong(f"--limit-rate: expected hours from 00:00 to 23:59; found {text!r}")
    return Hours(start_hour * 3600 + start_minute * 60, end_hour * 3600 + end_minute * 60, _rate(found[5]))
