"""The table of what is simulated is complete, and every line of it says how we know."""

from __future__ import annotations

import re
from pathlib import Path

from tests.sim.vcenter import rooms
from tests.sim.vcenter.objects import all_served

TABLE = Path(rooms.__file__).with_name("behaviours.md")
MARKS = ("observed", "documented", "assumed")


def rows(section: str) -> list[list[str]]:
    text = TABLE.read_text().partition(f"## {section}\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")][1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_method_that_answers_has_a_line_and_no_other() -> None:
    answered = sorted(f"{each.kind._wsdlName}.{each.method}" for each in all_served())
    assert sorted(row[0].strip("`") for row in rows("Methods")) == answered


def test_every_line_has_a_mark() -> None:
    marks = [row[1] for row in [*rows("Methods"), *rows("Behaviours")]]
    assert len(marks) > 80
    assert set(marks) == set(MARKS)


def test_what_is_not_assumed_names_its_source() -> None:
    for row in rows("Methods"):
        assert re.search(r"\w", row[2]), row
