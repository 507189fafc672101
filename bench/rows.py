"""What a benchmark prints: one JSON line per measurement, and a table for people made of such lines.

python -m bench.rows < results.jsonl > results.md
"""

import json
import statistics
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import TextIO


@dataclass(frozen=True)
class Row:
    """One measurement: in `benchmark`, `subject` (a product, a kernel) had this `value` of `metric` in run `run`."""

    benchmark: str
    subject: str
    metric: str
    value: float
    unit: str
    run: int = 0


@dataclass(frozen=True)
class Summary:
    """The runs of one measurement together."""

    benchmark: str
    subject: str
    metric: str
    unit: str
    median: float
    least: float
    most: float
    run_count: int


def write(row: Row, to: TextIO | None = None) -> None:
    """Print one row as a line, at once: a run that is interrupted keeps what it had measured."""
    print(json.dumps(asdict(row)), file=to or sys.stdout, flush=True)


def read(lines: Iterable[str]) -> Iterator[Row]:
    """The rows of JSON lines; lines without one are skipped, keys a later version added are ignored."""
    names = {column.name for column in fields(Row)}
    for line in lines:
        if line.lstrip().startswith("{"):
            yield Row(**{key: value for key, value in json.loads(line).items() if key in names})


def summaries(rows: Iterable[Row]) -> list[Summary]:
    """Median and spread of each measurement over its runs, in the order first seen."""
    values_by_key: dict[tuple[str, str, str, str], list[float]] = {}
    for row in rows:
        values_by_key.setdefault((row.benchmark, row.subject, row.metric, row.unit), []).append(row.value)
    return [
        Summary(*key, median=statistics.median(values), least=min(values), most=max(values), run_count=len(values))
        for key, values in values_by_key.items()
    ]


def table(told: Iterable[Summary]) -> str:
    """Markdown: a table per benchmark, a line per subject, a column per metric: `median (least-most)`."""
    by_benchmark: dict[str, list[Summary]] = {}
    for summary in told:
        by_benchmark.setdefault(summary.benchmark, []).append(summary)
    return "\n".join(_one_table(benchmark, listed) for benchmark, listed in by_benchmark.items())


def report(rows: Iterable[Row]) -> str:
    """All tables, and last the ratios."""
    listed = list(rows)
    return table(summaries(listed)) + ratios(listed, "wall") + ratios(listed, "cpu")


def ratios(rows: Iterable[Row], metric: str, ours: str = "ingot") -> str:
    """Markdown: seconds of `ours` by those of each other subject, run by run; nothing where nobody was beside."""
    seconds: dict[str, dict[str, dict[int, float]]] = {}
    for row in rows:
        if row.metric == metric:
            seconds.setdefault(row.benchmark, {}).setdefault(row.subject, {})[row.run] = row.value
    beside = {name: by_subject for name, by_subject in seconds.items() if ours in by_subject and len(by_subject) > 1}
    peers = list(dict.fromkeys(peer for by_subject in beside.values() for peer in by_subject if peer != ours))
    if not peers:
        return ""
    lines = [
        f"\n### {metric} seconds, ours by theirs\n",
        "| | " + " | ".join(peers) + " |",
        "|---|" + "---:|" * len(peers),
    ]
    for benchmark, by_subject in beside.items():
        cells = [
            ", ".join(f"{by_subject[ours][run] / theirs:.2f}" for run, theirs in by_subject.get(peer, {}).items())
            for peer in peers
        ]
        lines.append(f"| {benchmark} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _one_table(benchmark: str, listed: list[Summary]) -> str:
    columns = list(dict.fromkeys((summary.metric, summary.unit) for summary in listed))
    cell_by_place = {(s.subject, s.metric, s.unit): _cell(s) for s in listed}
    lines = [
        f"### {benchmark}\n",
        "| | " + " | ".join(f"{metric}, {unit}" for metric, unit in columns) + " |",
        "|---|" + "---:|" * len(columns),
    ]
    for subject in dict.fromkeys(summary.subject for summary in listed):
        cells = (cell_by_place.get((subject, *column), "") for column in columns)
        lines.append(f"| {subject} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(summary: Summary) -> str:
    if summary.run_count == 1:
        return _number(summary.median)
    return f"{_number(summary.median)} ({_number(summary.least)}-{_number(summary.most)})"


def _number(value: float) -> str:
    """Three significant digits, and whole numbers from a hundred on."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def main() -> int:
    """Turn JSON lines on stdin into tables on stdout."""
    sys.stdout.write(report(read(sys.stdin)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
