"""Work shared out to threads: every item once, and nothing goes on after it was stopped."""

from __future__ import annotations

import io
import itertools
import json
import os
import threading
from collections.abc import Iterator

import pytest

from runtime.logs import about, log
from runtime.tasks import Threads, ahead, begin_thread, in_parallel, worker_count
from tests.runtime.interrupts import interrupting


@pytest.mark.parametrize("workers", [1, 3, 20])
def test_every_item_is_taken_once(workers: int) -> None:
    taken: list[int] = []
    in_parallel(workers, iter(range(10)), lambda _, item: taken.append(item))
    assert sorted(taken) == list(range(10))


def test_each_worker_has_its_own_number() -> None:
    together = threading.Barrier(3)
    numbers: list[int] = []

    def step(number: int, _: int) -> None:
        together.wait()
        numbers.append(number)

    in_parallel(3, range(3), step)
    assert sorted(numbers) == [0, 1, 2]


def test_a_failure_ends_all_and_is_raised_when_no_step_runs_any_more() -> None:
    running: list[int] = []
    all_run = threading.Barrier(3)

    def step(number: int, item: int) -> None:
        running.append(number)
        if item < 3:
            all_run.wait()
        if item == 0:
            running.remove(number)
            raise ValueError("the first")
        running.remove(number)

    with pytest.raises(ValueError, match="the first"):
        in_parallel(3, itertools.count(), step)
    assert running == []


def test_a_failure_of_the_items_is_raised() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        in_parallel(2, items(), lambda number, item: None)


def test_after_an_interrupt_no_step_runs_any_more() -> None:
    running: list[int] = []
    all_run = threading.Barrier(3)

    def step(number: int, item: int) -> None:
        running.append(number)
        if item < 3:
            all_run.wait()
            if item == 0:
                interrupts.send()
            all_run.wait()
            sum(range(1_000_000))  # what a caller that was let go too early does not wait for
        running.remove(number)

    with interrupting() as interrupts, pytest.raises(KeyboardInterrupt):
        in_parallel(3, itertools.count(), step)
    assert running == []


def test_an_interrupt_while_threads_are_started_stops_those_that_run(monkeypatch: pytest.MonkeyPatch) -> None:
    running: list[int] = []
    begun, real = threading.Event(), threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name == "worker-1":
            begun.wait()
            raise KeyboardInterrupt
        real(thread)

    def step(number: int, item: int) -> None:
        running.append(number)
        begun.set()
        sum(range(1_000_000))
        running.remove(number)

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(KeyboardInterrupt):
        in_parallel(3, itertools.count(), step)
    assert running == []


def test_a_thread_whose_start_was_interrupted_takes_no_item(monkeypatch: pytest.MonkeyPatch) -> None:
    late: list[threading.Thread] = []
    taken: list[int] = []

    def start(thread: threading.Thread) -> None:
        late.append(thread)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(KeyboardInterrupt):
            in_parallel(3, range(3), lambda number, item: taken.append(item))
    late[0].start()
    late[0].join()
    assert taken == []


def test_there_is_a_worker_for_every_core_that_is_ours_but_no_more_than_memory_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for cores, workers in ((1, 1), (2, 2), (5, 5), (64, 5)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        assert worker_count() == workers


def test_steps_that_wait_for_one_another_are_told_to_stop() -> None:
    told = threading.Event()

    def step(_: int, item: int) -> None:
        if item == 0:
            raise ValueError("the first")
        assert told.wait(60)

    with pytest.raises(ValueError, match="the first"):
        in_parallel(3, [1, 2, 0], step, told.set)


def test_answers_come_in_order_and_so_many_are_made_at_once() -> None:
    together = threading.Barrier(5)

    def step(item: int) -> int:
        together.wait(60)
        return item * item

    assert list(ahead(5, range(20), step)) == [(item, item * item) for item in range(20)]


def test_no_more_is_begun_than_may_wait_to_be_drawn() -> None:
    begun: list[int] = []
    drawn = ahead(3, range(100), begun.append)
    next(drawn)
    next(drawn)
    del drawn
    assert len(begun) <= 4


def test_what_a_step_raises_is_raised_in_its_turn() -> None:
    def step(item: int) -> int:
        if item == 3:
            raise ValueError("the fourth")
        return item

    drawn = ahead(8, range(100), step)
    assert [next(drawn)[1] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="the fourth"):
        next(drawn)


def test_threads_log_what_their_giver_is_about(logged: io.StringIO) -> None:
    with about(trace="one"):
        in_parallel(2, range(2), lambda _number, _item: log().info("in parallel"))
        assert list(ahead(2, ["ahead"], log().info)) == [("ahead", None)]
        with Threads(1) as threads:
            threads.submit(log().info, "submitted").result()
            with about(trace="two"):
                threads.submit(log().info, "of another").result()
        begin_thread(lambda: log().info("alone"), "alone").join()
    log().info("outside")
    lines = [json.loads(line) for line in logged.getvalue().splitlines()]
    assert [(line["event"], line.get("trace")) for line in lines] == [
        ("in parallel", "one"),
        ("in parallel", "one"),
        ("ahead", "one"),
        ("submitted", "one"),
        ("of another", "two"),
        ("alone", "one"),
        ("outside", None),
    ]
