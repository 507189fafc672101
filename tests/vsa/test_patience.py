"""Calls are made again while that can help, with growing pauses, and not for ever."""

from __future__ import annotations

import pytest

from mediaagent.faults import LeafRefused, StreamBroken
from proto.faults import PeerBusy, PeerSlow, PeerUnreachable
from runtime.faults import Fault
from tests.media.fakes import FakeClock
from vsa.media_agent import Patience


class Line:
    def __init__(self, *faults: Fault) -> None:
        self.clock, self.faults, self.pauses = FakeClock(), list(faults), list[float]()
        self.patience = Patience(self.clock, self._pause, seconds=60.0)

    def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.clock.seconds += seconds

    def step(self) -> str:
        if self.faults:
            raise self.faults.pop(0)
        return "done"


@pytest.mark.parametrize("fault", [PeerUnreachable, PeerSlow, PeerBusy, StreamBroken])
def test_what_may_pass_is_tried_again(fault: type[Fault]) -> None:
    line = Line(*(fault("x") for _ in range(6)))
    assert line.patience.call(line.step) == "done"
    assert len(line.pauses) == 6
    assert line.pauses[-1] > 4 * line.pauses[0]


def test_what_will_not_pass_is_raised_at_once() -> None:
    line = Line(LeafRefused("x"))
    with pytest.raises(LeafRefused):
        line.patience.call(line.step)
    assert line.pauses == []


def test_patience_ends() -> None:
    line = Line(*(PeerUnreachable("x") for _ in range(1000)))
    with pytest.raises(PeerUnreachable):
        line.patience.call(line.step)
    assert 50 < sum(line.pauses) <= 60
