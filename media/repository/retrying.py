"""A repository that asks again: the same port around another, for places that are reached over a network.

What may be asked again says the fault (`retry`); how long is waited says this file: twice as long each time, at most
half a minute, and a random part of that, so that many who were thrown out at once do not come back at once.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import TypeVar

from media.faults import ObjectExists, RepositoryFault, RepositoryUnreachable
from media.repository import Buffer, Entry, Repository
from runtime.clock import SystemClock, Waiting
from runtime.faults import Retry

T = TypeVar("T")

ATTEMPTS = 9  # within 52 seconds, where every wait is the longest
_FIRST_SECONDS = 0.2
_LONGEST_SECONDS = 30.0


class Retrying:
    """Around `inner`. Safe to use from several threads, each of which waits for itself."""

    def __init__(
        self,
        inner: Repository,
        clock: Waiting | None = None,
        chance: Callable[[], float] = random.random,
        attempts: int = ATTEMPTS,
    ) -> None:
        self._inner = inner
        self._clock = clock or SystemClock()
        self._chance = chance
        self._attempts = attempts

    @property
    def url(self) -> str:
        return self._inner.url

    def put_new(self, name: str, body: Buffer) -> None:
        """The same bytes each time. After a try whose outcome is unknown a refusal is read back: are they ours?"""
        unknown = False

        def put() -> None:
            nonlocal unknown
            try:
                self._inner.put_new(name, body)
            except ObjectExists:
                if not unknown or self._inner.get(name) != body:
                    raise
            except RepositoryFault:
                unknown = True
                raise

        self._again(put)

    def get(self, name: str) -> bytes:
        return self._again(lambda: self._inner.get(name))

    def get_extent(self, name: str, offset: int, length: int) -> bytes:
        return self._again(lambda: self._inner.get_extent(name, offset, length))

    def get_tail(self, name: str, length: int) -> tuple[bytes, int]:
        return self._again(lambda: self._inner.get_tail(name, length))

    def list(self, prefix: str, after: str = "") -> Iterator[Entry]:
        """Goes on after the last name that came. Each name that comes makes it patient again."""
        failures = 0
        while True:
            try:
                for entry in self._inner.list(prefix, after):
                    after, failures = entry.name, 0
                    yield entry
            except RepositoryFault as fault:
                failures += 1
                self._wait(fault, failures)
            else:
                return

    def delete(self, name: str) -> None:
        self._again(lambda: self._inner.delete(name))

    def _again(self, ask: Callable[[], T]) -> T:
        failures = 0
        while True:
            try:
                return ask()
            except RepositoryFault as fault:
                failures += 1
                self._wait(fault, failures)

    def _wait(self, fault: RepositoryFault, failures: int) -> None:
        """Raises the fault when asking again makes no sense, or has been done often enough."""
        passing = fault.retry is Retry.LATER and isinstance(
            fault, RepositoryUnreachable
        )  # full is not full for seconds
        if not passing or failures >= self._attempts:
            raise fault
        longest = min(_LONGEST_SECONDS, _FIRST_SECONDS * 2.0 ** (failures - 1))
        self._clock.sleep(longest * (0.5 + 0.5 * self._chance()))
