"""What handlers and loops of one CommServe share. Everything from outside comes in here."""

from __future__ import annotations

from dataclasses import dataclass, field

from commserve.access.attempts import Attempts
from commserve.ids import Ids
from commserve.store.engine import Store
from runtime.clock import Clock


@dataclass(frozen=True)
class Services:
    """One CommServe."""

    store: Store
    clock: Clock
    attempts: Attempts
    ids: Ids = field(default_factory=Ids)
