"""One schedule: a store, processes that use it at once, and a seed that decides whose turn it is and what it meets."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

from media.key_slots import NoSecret
from media.pool import Parameters, Pool, create_pool
from media.repository.memory import MemoryRepository
from tests.faults.scenario import KEY_FILE
from tests.media.fakes import FakeClock
from tests.media.workbench import seeded
from tests.schedules.bad_indexes import BadIndex
from tests.schedules.baton import Baton, Task
from tests.schedules.oracle import Oracle
from tests.schedules.store import Fate, Stopped, Store, View

SEGMENT = 16 << 10
OPEN = Parameters(average_chunk_bytes=4096, container_bytes=16 << 10, segment_bytes=SEGMENT, encrypted=False)
SEALED = replace(OPEN, encrypted=True)

_STEPS_MAX = 100_000
_STOPS = (Fate.STOPPED_BEFORE, Fate.STOPPED_AFTER)
_STOPS_CHANGE = (*_STOPS, Fate.STOPPED_LATE)


@cache
def _new_pool(parameters: Parameters) -> tuple[Pool, dict[str, bytes]]:
    """An empty pool, and its objects."""
    memory = MemoryRepository()
    with seeded(1):
        secret = KEY_FILE if parameters.encrypted else NoSecret()
        pool = create_pool(memory, secret, parameters, FakeClock())
    return pool, {entry.name: memory.get(entry.name) for entry in memory.list("")}


@dataclass(frozen=True)
class Odds:
    """How likely a call meets each fate; the rest is done."""

    stop: float
    unreachable: float
    late: float
    late_delete: float

    @staticmethod
    def drawn(rng: random.Random) -> Odds:
        """Quiet schedules reach deep, noisy ones reach corners."""
        return Odds(
            stop=rng.choice((0.0, 0.003, 0.02)),
            unreachable=rng.choice((0.0, 0.004, 0.03)),
            late=rng.choice((0.0, 0.0, 0.01, 0.05)),
            late_delete=rng.choice((0.0, 0.1, 0.5)),
        )


class Process:
    """One process incarnation: what it reaches the store with, and whether it still lives."""

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self.world = world
        self.stopped = False
        self.view = View(world.store, self)
        self.pool = replace(world.pool, repository=self.view)

    def fate(self, call: str) -> Fate:
        """Waits for its turn."""
        world = self.world
        if self.stopped:
            return Fate.STOPPED_BEFORE
        task = world.baton.holder
        world.baton.pause()
        if self.stopped:  # while this call was on its way
            late = call.startswith(("put", "delete")) and world.rng.random() < 0.5
            fate = Fate.STOPPED_LATE if late else Fate.STOPPED_BEFORE
        else:
            fate = world.draw(call)
        world.trace.append(f"{self.name} {task.name}: {call}: {fate.value}")
        world.totals[fate.name] += 1
        return fate

    def late(self, call: str, do: Callable[[], None]) -> None:
        self.world.on_the_way.append((f"{self.name}: {call}", do))

    def stop(self) -> Stopped:
        self.stopped = True
        return Stopped()

    def put_begins(self, name: str, body: bytes) -> None:
        for index in self.world.indexes:
            index.put_begins(name, body)


Actor = Callable[[Process], None]


class World:
    """Everything of one schedule. `actors` are what may be started, each with its weight; `run` runs them."""

    def __init__(self, seed: int, actors: list[tuple[float, str, Actor]], count: int, *, every_step: bool) -> None:
        self.rng = random.Random(seed)
        self.seed = seed
        self.baton = Baton()
        template, objects = _new_pool(self.rng.choice((OPEN, SEALED)))
        self.store = Store(objects)
        self.pool = replace(template, repository=self.store)
        self.clock = FakeClock()
        self.oracle = Oracle(self.pool, self.store, every_step)
        self.odds = Odds.drawn(self.rng)
        self.trace: list[str] = []
        self.totals: Counter[str] = Counter()
        self.on_the_way: list[tuple[str, Callable[[], None]]] = []
        self.indexes = [self._index() for _ in range(2)]
        self._stay = self.rng.choice((0.0, 0.5, 0.9))
        self._crowd = self.rng.choice((0.01, 0.1, 0.5))
        self._actors = actors
        self._left = count
        self._started = 0

    def _index(self) -> BadIndex:
        return BadIndex(self.store, random.Random(self.rng.random()), self.rng.choice((0.0, 0.1, 0.5)))

    def draw(self, call: str) -> Fate:
        """What becomes of the next call."""
        drawn = self.rng.random()
        for share, fates in (
            (self.odds.stop, _STOPS_CHANGE if call.startswith(("put", "delete")) else _STOPS),
            (self.odds.unreachable, (Fate.NOT_DONE, Fate.REPLY_LOST)),
            (self._late(call), (Fate.LATE,)),
        ):
            if drawn < share:
                return self.rng.choice(fates)
            drawn -= share
        return Fate.DONE

    def _late(self, call: str) -> float:
        """What changes nothing cannot come late."""
        return {"put": self.odds.late, "delete": self.odds.late_delete}.get(call.partition(" ")[0], 0.0)

    def run(self) -> None:
        """Raises Loss as soon as something that was promised is not so."""
        with self.baton.substituted(), seeded(self.seed):
            try:
                last: Task | None = None
                while self.baton.tasks or self._left or self.on_the_way:
                    last = self._step(last)
                    self.oracle.after_step()
                    assert len(self.trace) < _STEPS_MAX, "the schedule does not end"
            finally:
                self._end()
        self.oracle.at_end()

    def _end(self) -> None:
        """No thread is left behind."""
        for task in self.baton.tasks:
            task.owner.stopped = True
        while ready := self.baton.ready():
            self.baton.pass_to(ready[0])

    def _step(self, last: Task | None) -> Task | None:
        busy = len({task.owner for task in self.baton.tasks})
        if self._left and (not busy or (busy < 4 and self.rng.random() < self._crowd)):
            self._start()
        if self.on_the_way and (not self.baton.tasks or self.rng.random() < 0.02):
            self._arrive()
            return last
        if not self.baton.tasks:
            return last
        ready = self.baton.ready()
        assert ready, f"a deadlock: {[f'{task.owner.name} {task.name}' for task in self.baton.tasks]}"
        gone = [task for task in ready if task.owner.stopped]
        if gone:
            task = gone[0]  # what a stopped process does is seen by nobody: it is over at once
        elif last in ready and self.rng.random() < self._stay:
            assert last is not None
            task = last
        else:
            owner = self.rng.choice(sorted({task.owner.name for task in ready}))
            task = self.rng.choice([task for task in ready if task.owner.name == owner])
        self.baton.pass_to(task)
        if task.ended and task.failure is not None and not isinstance(task.failure, Stopped):
            raise task.failure
        return None if task.ended else task

    def _start(self) -> None:
        self._left -= 1
        weights = [weight for weight, _, _ in self._actors]
        _, kind, actor = self.rng.choices(self._actors, weights)[0]
        self.start(kind, actor)

    def start(self, kind: str, actor: Actor) -> None:
        """A new process."""
        self._started += 1
        process = Process(self, f"{kind}-{self._started}")
        self.totals[kind] += 1
        self.baton.start(process, "main", lambda: actor(process))

    def _arrive(self) -> None:
        """A request that was given up arrives."""
        call, do = self.on_the_way.pop(self.rng.randrange(len(self.on_the_way)))
        outcome = "arrives"
        try:
            do()
        except Exception as fault:  # noqa: BLE001 # nobody is there to hear it
            outcome = f"arrives, and is refused: {fault}"
        self.trace.append(f"{call}: {outcome}")
