"""Progress: bars on stderr when that is a terminal, nothing otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from ingot.quantities import rate_text, size_text

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import Task, TaskID

    from ingot.embedded import Progress

_COUNTED = {"index"}  # phases whose units are containers; all others count bytes


class _Silent:
    def begin(self, phase: str, total: int) -> None:
        """Nobody looks."""

    def advance(self, count: int) -> None:
        """Nobody looks."""


class _Bars:
    """One bar a phase; a phase of nothing shows nothing. `advance` may be called from several threads."""

    def __init__(self, rich: RichProgress) -> None:
        self._rich = rich
        self._task: TaskID | None = None

    def begin(self, phase: str, total: int) -> None:
        if self._task is not None:
            self._rich.stop_task(self._task)
        self._task = self._rich.add_task(phase, total=total, visible=total > 0)

    def advance(self, count: int) -> None:
        if self._task is not None:
            self._rich.advance(self._task, count)


@contextmanager
def silent() -> Iterator[Progress]:
    """Progress for nobody."""
    yield _Silent()


@contextmanager
def bars_on() -> Iterator[Progress]:
    """Bars on stderr, gone when the work is over: the result says the rest."""
    with _rich() as rich:
        yield _Bars(rich)


class Bars(Protocol):
    """Bars of things that go on elsewhere, by key."""

    def show(self, key: str, title: str, done: int, total: int) -> None:
        """How far one of them is; a total of 0 is not known."""


class _NoBars:
    def show(self, key: str, title: str, done: int, total: int) -> None:
        """Nobody looks."""


class _JobBars:
    def __init__(self, rich: RichProgress) -> None:
        self._rich = rich
        self._task_by_key: dict[str, TaskID] = {}

    def show(self, key: str, title: str, done: int, total: int) -> None:
        if key not in self._task_by_key:
            self._task_by_key[key] = self._rich.add_task(title, total=None)
        self._rich.update(self._task_by_key[key], description=title, completed=done, total=total or None)


@contextmanager
def no_bars() -> Iterator[Bars]:
    """Bars for nobody."""
    yield _NoBars()


@contextmanager
def job_bars() -> Iterator[Bars]:
    """Bars on stderr, gone when all is over."""
    with _rich() as rich:
        yield _JobBars(rich)


@contextmanager
def _rich() -> Iterator[RichProgress]:
    from rich.console import Console
    from rich.progress import BarColumn, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress
    from rich.text import Text

    class Amount(ProgressColumn):
        """`1.20 GiB of 4.00 GiB  512 MiB/s`."""

        def render(self, task: Task) -> Text:
            done, total = int(task.completed), int(task.total or 0)
            if not total:
                return Text("")
            if task.description in _COUNTED:
                return Text(f"{done} of {total} containers")
            rate = f"  {rate_text(int(task.speed), 1)}" if task.speed else ""
            return Text(f"{size_text(done)} of {size_text(total)}{rate}")

    columns = (TextColumn("{task.description}"), BarColumn(), Amount(), TimeRemainingColumn())
    console = Console(stderr=True)
    with RichProgress(*columns, console=console, transient=True, refresh_per_second=5) as rich:
        yield rich
