"""Work shared out to threads. Heavy calls release the GIL, so a thread a core is the whole machine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


def in_parallel(workers: int, items: Iterable[T], step: Callable[[int, T], None]) -> None:
    """Call `step(worker number, item)` for every item, each of `workers` threads taking the next.

    `items`, none of them None, is drawn under a lock, so it may be a generator. The first exception, also an
    interrupt of the caller's, stops all at their next item, and is raised when all have stopped.
    """
    source = iter(items)
    lock = threading.Lock()
    stop = threading.Event()
    failures: list[BaseException] = []

    def work(number: int) -> None:
        while not stop.is_set():
            try:
                with lock:
                    item = next(source, None)
                if item is None:
                    return
                step(number, item)
            except BaseException as failure:  # noqa: BLE001 # carried to the caller, whole
                failures.append(failure)
                stop.set()

    threads = [threading.Thread(target=work, args=(number,), name=f"worker-{number}") for number in range(workers)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException:
        stop.set()
        for thread in threads:
            thread.join()
        raise
    if failures:
        raise failures[0]
