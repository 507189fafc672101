"""That something changed: the number of the last change, and a way to wait for the next."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.sim.vcenter.objects import Simulated


class Changes:
    """`lock` guards everything simulated; who waits, waits on it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.last = 0
        self.structure = 0  # grows when an object comes, goes or moves
        self._changed = threading.Condition(self.lock)

    def note(self, changed: Simulated) -> None:
        """An object changed."""
        with self.lock:
            self.last += 1
            changed.revision = self.last
            self._changed.notify_all()

    def note_structure(self) -> None:
        """What a traversal finds changed."""
        with self.lock:
            self.last += 1
            self.structure += 1
            self._changed.notify_all()

    def rouse(self) -> None:
        """Whoever waits looks again."""
        with self.lock:
            self._changed.notify_all()

    def wait(self, seconds: float) -> None:
        """Until there is something to look at, or for so long. Called with the lock held."""
        self._changed.wait(seconds)
