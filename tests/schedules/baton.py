"""Threads of which one runs at a time: who holds the baton. The real code's threads run here, in an order that repeats.

A task gives the baton back where it may be overtaken: at a call of the store, and where it waits for another task.
What waits elsewhere (a lock held for a moment) never meets another thread that runs, so it needs nothing.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from runtime.tasks import Threads

Condition = Callable[[], bool]

_HUNG_SECONDS = 60.0  # a task that keeps the baton so long waits for something that is not in `substituted`


_WITH_THREADS = ("runtime.tasks", "media.container_reader", "media.fetching", "media.packing", "media.page_packing")
"""Modules whose locks are held over calls of the store, and whose threads wait for one another."""


class Task:
    """One thread. `owner` is whoever it works for; threads that it starts work for the same."""

    def __init__(self, owner: Any, name: str, body: Callable[[], None]) -> None:
        self.owner = owner
        self.name = name
        self.failure: BaseException | None = None
        self.ended = False
        self.ready: Condition = lambda: True
        self.go = threading.Lock()
        self.go.acquire()
        self.body = body


class Baton:
    """Belongs to one schedule."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []  # those that have not ended, oldest first
        self._holder: Task | None = None
        self._back = threading.Lock()
        self._back.acquire()

    @property
    def holder(self) -> Task:
        """The task that runs."""
        assert self._holder is not None, "no task runs"
        return self._holder

    def start(self, owner: Any, name: str, body: Callable[[], None]) -> Task:
        """A new task; it does nothing before it is passed the baton."""
        task = Task(owner, name, body)
        self.tasks.append(task)
        threading.Thread(target=self._run, args=(task,), daemon=True).start()
        return task

    def _run(self, task: Task) -> None:
        task.go.acquire()
        try:
            task.body()
        except BaseException as failure:  # noqa: BLE001 # told by who asks for it
            task.failure = failure
        task.ended = True
        self.tasks.remove(task)
        self._back.release()

    def ready(self) -> list[Task]:
        """The tasks that can go on."""
        return [task for task in self.tasks if task.ready()]

    def pass_to(self, task: Task) -> None:
        """Let `task` run until it gives the baton back."""
        self._holder = task
        task.go.release()
        if not self._back.acquire(timeout=_HUNG_SECONDS):
            raise RuntimeError(f"{task.name} waits for something that is not substituted: see _WITH_THREADS")
        self._holder = None

    def pause(self, until: Condition = lambda: True) -> None:
        """In a task: give the baton back, and go on when `until` holds and it is passed again."""
        task = self.holder
        task.ready = until
        self._back.release()
        task.go.acquire()

    def wait(self, until: Condition) -> None:
        """In a task: pause, unless `until` holds already."""
        if not until():
            self.pause(until)

    @contextmanager
    def substituted(self) -> Iterator[None]:
        """Inside, what the product waits with waits here, where a task uses it; everybody else gets the real one."""
        here = _Substitutes(self)
        for_tasks = SimpleNamespace(Thread=here.thread, Lock=here.lock, Condition=here.condition, local=threading.local)
        for_queues = SimpleNamespace(SimpleQueue=here.simple_queue, Empty=queue.Empty)
        with ExitStack() as stack:
            for module in _WITH_THREADS:
                stack.enter_context(patch(f"{module}.threading", for_tasks))
            for module in ("runtime.tasks", "media.packing"):
                stack.enter_context(patch(f"{module}.queue", for_queues))
                stack.enter_context(patch(f"{module}.Threads", here.executor))
            stack.enter_context(patch("media.packing.wait", here.wait))
            yield


class _Substitutes:
    """What takes the place of `threading`, `queue` and `concurrent.futures`."""

    def __init__(self, baton: Baton) -> None:
        self._baton = baton

    @property
    def _in_task(self) -> bool:
        return self._baton._holder is not None

    def lock(self) -> Any:
        return _Lock(self._baton) if self._in_task else threading.Lock()

    def simple_queue(self) -> Any:
        return _SimpleQueue(self._baton) if self._in_task else queue.SimpleQueue()

    def thread(self, target: Callable[..., None], args: tuple[Any, ...], name: str) -> Any:
        return _Thread(self._baton, target, args, name) if self._in_task else threading.Thread(target=target, args=args)

    def condition(self, lock: Any) -> Any:
        return _Condition(self._baton, lock) if isinstance(lock, _Lock) else threading.Condition(lock)

    def executor(self, threads: int, thread_name_prefix: str) -> Any:
        if self._in_task:
            return _Executor(self._baton, threads, thread_name_prefix)
        return Threads(threads, thread_name_prefix=thread_name_prefix)

    def wait(self, futures: Iterable[Future[Any]], _timeout: float) -> Any:
        waited = list(futures)
        self._baton.wait(lambda: all(future.done() for future in waited))
        return SimpleNamespace(done=set(waited), not_done=set())


class _Lock:
    def __init__(self, baton: Baton) -> None:
        self._baton = baton
        self._held = False

    def __enter__(self) -> None:
        self._baton.wait(lambda: not self._held)
        self._held = True

    def __exit__(self, *_: object) -> None:
        self._held = False


class _Condition:
    def __init__(self, baton: Baton, lock: _Lock) -> None:
        self._baton = baton
        self._lock = lock
        self._waiting: list[list[bool]] = []

    def __enter__(self) -> None:
        self._lock.__enter__()

    def __exit__(self, *_: object) -> None:
        self._lock.__exit__()

    def wait(self) -> None:
        told = [False]
        self._waiting.append(told)
        self._lock.__exit__()
        self._baton.pause(lambda: told[0])
        self._lock.__enter__()

    def notify(self, count: int = 1) -> None:
        for told in self._waiting[:count]:
            told[0] = True
        del self._waiting[:count]

    def notify_all(self) -> None:
        self.notify(len(self._waiting))


class _SimpleQueue:
    def __init__(self, baton: Baton) -> None:
        self._baton = baton
        self._items: deque[Any] = deque()

    def put(self, item: Any) -> None:
        self._items.append(item)

    def get_nowait(self) -> Any:
        if not self._items:
            raise queue.Empty
        return self._items.popleft()

    def get(self, timeout: float | None = None) -> Any:
        """Time stands still here: a time-out never comes."""
        self._baton.wait(lambda: bool(self._items))
        return self._items.popleft()


class _Thread:
    def __init__(self, baton: Baton, target: Callable[..., None], args: tuple[Any, ...], name: str) -> None:
        self._baton, self._target, self._args, self._name = baton, target, args, name

    def start(self) -> None:
        self._baton.start(self._baton.holder.owner, self._name, lambda: self._target(*self._args))


class _Answer(Future[Any]):
    """Of a task; another task waits for it here."""

    def __init__(self, baton: Baton) -> None:
        super().__init__()
        self._baton = baton

    def result(self, timeout: float | None = None) -> Any:
        self._baton.wait(self.done)
        return super().result(timeout)


class _Executor:
    """Several tasks at most; they end when nothing is left to do, so nobody has to shut them down."""

    def __init__(self, baton: Baton, threads: int, name: str) -> None:
        self._baton, self._threads, self._name = baton, threads, name
        self._running = 0
        self._work: deque[tuple[_Answer, Callable[[], Any]]] = deque()

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        future = _Answer(self._baton)
        self._work.append((future, lambda: function(*args)))
        if self._running < self._threads:
            self._running += 1
            self._baton.start(self._baton.holder.owner, self._name, self._run)
        return future

    def _run(self) -> None:
        while self._work:
            future, do = self._work.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = do()
            except BaseException as failure:  # noqa: BLE001 # as the real one: whoever asks the future hears it
                future.set_exception(failure)
            else:
                future.set_result(result)
        self._running -= 1

    def shutdown(self, wait: bool = True, cancel_futures: bool = False) -> None:
        if cancel_futures:
            dropped = list(self._work)
            self._work.clear()
            for future, _ in dropped:
                future.cancel()
        if wait:
            self._baton.wait(lambda: not self._work and not self._running)
