"""What handlers and loops of one CommServe share. Everything from outside comes in here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from commserve.access.attempts import Attempts
from commserve.catalog.outcomes import ended
from commserve.ids import Ids
from commserve.jobs.bell import Bell
from commserve.jobs.dispatch import Dispatch
from commserve.jobs.lifecycle import Policy
from commserve.jobs.progress import Progress
from commserve.store.engine import Store
from commserve.trust.authority import Authority
from runtime.clock import Clock


@dataclass(frozen=True)
class Services:
    """One CommServe."""

    store: Store
    clock: Clock
    authority: Authority
    attempts: Attempts
    dispatch: Dispatch
    progress: Progress
    bell: Bell
    agents_address: str  # host:port as agents dial it; an empty host means the one they know us by
    draining: Callable[[], bool] = lambda: False
    ids: Ids = field(default_factory=Ids)


def assemble(
    store: Store,
    clock: Clock,
    authority: Authority,
    agents_address: str,
    *,
    policy: Policy | None = None,
    ids: Ids | None = None,
    draining: Callable[[], bool] = lambda: False,
) -> Services:
    """The parts put together."""
    ids, policy, bell = ids or Ids(), policy or Policy(), Bell()
    dispatch = Dispatch(store, clock, ids, bell, policy)
    progress = Progress(policy, [ended])
    attempts = Attempts(clock)
    return Services(store, clock, authority, attempts, dispatch, progress, bell, agents_address, draining, ids)
