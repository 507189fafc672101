"""Every metric is described, with its kind and labels, and is on the dashboard; nothing else is."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("runtime", "proto", "mediaagent", "vsa", "commserve")
KINDS = {"Gauge": "gauge", "GaugeMetricFamily": "gauge", "Counter": "counter", "Histogram": "histogram"}
OF_HISTOGRAM = ("_bucket", "_sum", "_count")


def made() -> Iterator[tuple[str, str]]:
    """What the product makes: names as Prometheus has them, and kinds."""
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id not in KINDS:
                    continue
                first = node.args[0] if node.args else None
                if isinstance(first, ast.Constant) and str(first.value).startswith("ingot_"):
                    kind = KINDS[node.func.id]
                    yield f"{first.value}{'_total' if kind == 'counter' else ''}", kind


MADE = dict(made())


def test_metrics_are_found_at_all() -> None:
    assert {"counter", "gauge", "histogram"} == set(MADE.values())
    assert "ingot_vcenter_call_seconds" in MADE


def test_the_page_describes_every_metric_and_no_other() -> None:
    rows = re.findall(r"^\| `(ingot_[a-z_]+)` \| (\w+) \|", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE)
    assert len(rows) == len(dict(rows)), "once each"
    assert dict(rows) == MADE


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda path: path.name)
def test_no_page_speaks_of_a_metric_that_is_not_there(page: Path) -> None:
    assert set(
        re.findall(r"`(ingot_(?:vcenter|vsa|agent|mediaagent|jobs|points|machines)[a-z_]*)`", page.read_text())
    ) <= set(MADE)


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    dashboard = json.loads((ROOT / "deploy/grafana/ingot.json").read_text())
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in re.findall("ingot_[a-z_]+", target["expr"])
    }
    shown = {
        name: {f"{name}{end}" for end in OF_HISTOGRAM} if kind == "histogram" else {name} for name, kind in MADE.items()
    }
    assert [name for name, ways in shown.items() if not ways & asked] == []
    assert asked - set().union(*shown.values()) == set()


def test_no_two_panels_lie_upon_each_other() -> None:
    panels = json.loads((ROOT / "deploy/grafana/ingot.json").read_text())["panels"]
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels) == len({panel["id"] for panel in panels})
