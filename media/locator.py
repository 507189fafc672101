"""Where chunks are that need not be stored: this session's own, and what whoever keeps the session answers."""

from __future__ import annotations

from collections.abc import Callable

from media.container import Footer
from media.known_chunks import Fingerprints, Places, keys


class Locator:
    """Finds chunks that are stored already, and answers only with places that hold.

    `stored` answers for what is durable, with confirmed places (W9); it is the session log's `locate`.
    """

    def __init__(self, stored: Callable[[Fingerprints], Places]) -> None:
        # This session's chunks that are not yet durable. When their container is durable `stored` knows them, so this
        # stays as small as the open containers. Two workers may store one chunk at the same instant; that costs its
        # space and nothing else.
        self.fresh: dict[bytes, tuple[int, int]] = {}
        self._stored = stored

    def locate(self, fingerprints: Fingerprints) -> Places:
        """A place for each fingerprint, or a miss."""
        fresh = [self.fresh.get(key) for key in keys(fingerprints)]  # asked first: what moves meanwhile is in either
        places = self._stored(fingerprints)
        for row, place in enumerate(fresh):
            if place is not None:
                places.cids[row], places.slots[row] = place
        return places

    def durable(self, footer: Footer) -> None:
        """A container of this session is durable, and `stored` answers with its chunks (I1)."""
        for key in keys(footer["fingerprint"]):
            self.fresh.pop(key, None)
