"""docs/durability.md, made of experiments: a table a command, a row a kind of call, a column a trouble."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tests.durability.commands import COMMANDS, Command
from tests.durability.experiment import GOOD, KILLED, Experiments, Nth, Outcome
from tests.durability.troubles import Call, dies_after, dies_before, fails, loses_reply

PAGE = Path(__file__).parents[2] / "docs" / "durability.md"

MADE = "<!-- what follows is made by `python -m tests.durability` -->\n"


def page(directory: Path) -> str:
    """The whole page: its guide as it is, the tables anew."""
    guide, mark, _ = PAGE.read_text().partition(MADE)
    assert mark, f"{PAGE}: expected a line {MADE}"
    return guide + mark + "".join(_table(command, directory / f"{n}") for n, command in enumerate(COMMANDS))


def _table(command: Command, directory: Path) -> str:
    experiments = Experiments(command, directory)
    columns = ["error", "lost reply", "crash before", "crash after", "torn write", "no space", "slow"]
    columns += ["given up"] if command.has_session else []
    lines = [f"\n## {command.name}", "", f"{command.says}", ""]
    lines += ["| call | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for call in sorted(set(experiments.calls), key=lambda call: call.order):
        if command.only is None or call in command.only:
            cells = [_cell(_outcomes(experiments, call, column)) for column in columns]
            lines.append(f"| {call} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _outcomes(experiments: Experiments, call: Call, column: str) -> Iterator[Outcome]:
    changes = call.verb in ("put", "delete")
    one: dict[str, Callable[[Nth], Outcome]] = {
        "error": lambda nth: experiments.meeting(fails, nth),
        "lost reply": lambda nth: experiments.meeting(loses_reply, nth),
        "crash before": lambda nth: experiments.meeting(dies_before, nth),
        "crash after": lambda nth: experiments.meeting(dies_after, nth),
        "slow": experiments.slow,
        "given up": experiments.given_up,
    }
    if changes:
        one["no space"] = experiments.no_space
    for nth in experiments.occurrences(call):
        if column in one:
            yield one[column](nth)
        elif changes:
            yield from experiments.torn(nth)


def _cell(outcomes: Iterable[Outcome]) -> str:
    """What was seen, each once; a dash where such a call cannot meet such a trouble."""
    return " / ".join(sorted({_words(outcome) for outcome in outcomes})) or "–"


def _words(outcome: Outcome) -> str:
    there = "*there*" if outcome.there else "*not there*"
    after = "" if outcome.next == GOOD else f", then `{_short(outcome.next)}`"
    if outcome.told == KILLED:
        return there.strip("*") + after
    if outcome.told == GOOD:
        return "ok" if outcome.expected else f"ok, {there}"
    return f"`{_short(outcome.told)}`" + (f", {there}{after}" if outcome.there else "")


def _short(code: str) -> str:
    return code.removeprefix("media.")
