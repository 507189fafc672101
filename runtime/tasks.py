"""Work shared out to threads. Heavy calls release the GIL, so a thread a core is the whole machine.

Threads log what whoever gave them work is about, job and trace (`runtime.logs.about`): a thread begins with an empty
context, so it runs in a copy of the giver's.

An interrupt is what a signal raises in the main thread, wherever it stands: KeyboardInterrupt, for one. Threads are not
waited for with `Thread.join`: in Python 3.11 a join that was interrupted takes its thread for ended from then on.
"""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from typing import ParamSpec, TypeVar

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")

_MOST_WORKERS = 5
LOOK_SECONDS = 0.5  # a signal in the instant before a wait does not end it: it is seen when we look again


def worker_count() -> int:
    """How many workers to use where nobody said: one a core that this process may run on, but five at most.

    Memory stays within 512 MiB on any machine: a worker of a backup has a segment of 32 MiB and a container of 32 MiB
    that it fills, and three more containers are on their way; with five workers that makes 416 MiB.
    """
    return min(len(os.sched_getaffinity(0)), _MOST_WORKERS)


class Threads(ThreadPoolExecutor):
    """A pool of them."""

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Have `fn` called in the context of whoever submits it."""
        context = copy_context()
        return super().submit(lambda: context.run(fn, *args, **kwargs))


def begin_thread(run: Callable[[], None], name: str) -> threading.Thread:
    """One that the end of the process does not wait for."""
    thread = threading.Thread(target=copy_context().run, args=(run,), name=name, daemon=True)
    thread.start()
    return thread


def _nothing() -> None:
    """For who does not wait."""


def in_parallel(
    workers: int, items: Iterable[T], step: Callable[[int, T], None], on_stop: Callable[[], None] = _nothing
) -> None:
    """Call `step(worker number, item)` for every item, each of `workers` threads taking the next.

    `items`, none of them None, is drawn under a lock, so it may be a generator. The first exception, also an
    interrupt of the caller's, stops all at their next item, and is raised when no step runs any more; steps that wait
    for one another are told by `on_stop`, which may be called more than once. Who interrupts a second time does not
    want to wait for that.
    """
    source = iter(items)
    lock = threading.Lock()
    stopped = False
    failures: list[BaseException] = []
    begun: set[int] = set()
    ended: set[int] = set()
    wake: queue.SimpleQueue[None] = queue.SimpleQueue()  # something for every worker that ended, put after it was noted

    def take_items(number: int) -> None:
        while not stopped:
            with lock:
                item = next(source, None)
            if item is None:
                return
            step(number, item)

    def work(number: int) -> None:
        nonlocal stopped
        begun.add(number)  # before `stopped` is looked at: who stops us sees this, or we see that
        try:
            take_items(number)
        except BaseException as failure:  # noqa: BLE001 # carried to the caller, whole
            failures.append(failure)
            stopped = True
            on_stop()
        finally:
            ended.add(number)
            wake.put(None)

    def doze() -> None:
        with suppress(queue.Empty):
            wake.get(timeout=LOOK_SECONDS)

    try:
        for number in range(workers):
            context = copy_context()
            threading.Thread(target=context.run, args=(work, number), name=f"worker-{number}").start()
        while len(ended) < workers:
            doze()
    except BaseException:
        stopped = True  # also a thread whose start was interrupted takes no item now
        on_stop()
        while begun - ended:
            doze()
        raise
    if failures:
        raise failures[0]


def ahead(most: int, items: Iterable[T], step: Callable[[T], R]) -> Iterator[tuple[T, R]]:
    """Every item with `step(item)`, in order; up to `most` steps run, or wait to be drawn, by threads of their own.

    For steps that wait for something far away and are harmless when nobody wants their answer any more: whoever stops
    drawing is not held up by them. What a step raises is raised where its answer would have been.
    """
    pool = Threads(most, thread_name_prefix="ahead")
    begun: deque[tuple[T, Future[R]]] = deque()
    try:
        for item in items:
            begun.append((item, pool.submit(step, item)))
            if len(begun) == most:
                first, answer = begun.popleft()
                yield first, answer.result()
        while begun:
            first, answer = begun.popleft()
            yield first, answer.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
