from __future__ import annotations

import json
import re
from array import array
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from swapyard.observe.gpu.cards import Sample
from swapyard.observe.model_memory import ModelMemory
from swapyard.observe.prometheus import Lost, Metrics
from swapyard.observe.system import Interface, SystemSample
from swapyard.types import ModelId

DASHBOARD: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "deploy" / "grafana.json").read_text(encoding="utf-8")
)
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES: list[tuple[str, str]] = [
    (target["expr"], target["legendFormat"]) for panel in PANELS for target in panel["targets"]
]

QWEN = ModelId("qwen")

# What Prometheus itself adds when it scrapes.
SCRAPED = {"instance", "job"}


def page_with_everything() -> str:
    metrics = Metrics(
        in_flight=lambda: {QWEN: 1},
        waiting=lambda: {QWEN: 1},
        memory=lambda: {QWEN: ModelMemory(1, {"GPU-1": 1})},
        system=lambda: SystemSample(0, array("d", [1]), 1, 1, 1, 1, 1, (1, 1, 1), (Interface("eth0", 1, 1),)),
        gpus=lambda: [Sample(0, 0, "RTX", "GPU-1", 1, 1, 1, 1, 1, 1, 1, 1)],
        lost=lambda: Lost(1, 1, 1),
    )
    metrics.observe("qwen", 200, 1, queue=1, first_token=1, input_tokens=1)
    metrics.load_finished("qwen", 1, ready=True)
    return metrics.render().decode()


# Labels by sample name, as Prometheus' own parser reads the page.
OFFERED: dict[str, set[str]] = {
    sample.name: set(sample.labels)
    for family in text_string_to_metric_families(page_with_everything())
    for sample in family.samples
}


def used(expression: str) -> str:
    (name,) = re.findall(r"\b((?:swapyard|llamaswap)_\w+)", expression)
    return str(name)


@pytest.mark.parametrize(("expression", "legend"), QUERIES)
def test_a_query_asks_for_something_that_is_offered(expression: str, legend: str) -> None:
    labels = OFFERED[used(expression)] | SCRAPED
    assert {*re.findall(r"(\w+)=", expression)} <= labels
    assert 'instance="$instance"' in expression
    grouped = re.search(r"sum by \(([\w, ]+)\)", expression)
    kept = {label.strip() for label in grouped[1].split(",")} if grouped else labels
    assert kept <= labels
    assert {*re.findall(r"{{(\w+)}}", legend)} <= kept


@pytest.mark.parametrize(("expression", "legend"), QUERIES)
def test_a_counter_is_shown_as_a_rate_and_a_gauge_is_not(expression: str, legend: str) -> None:
    counts = used(expression).endswith(("_total", "_bucket"))
    assert counts == bool(re.search(r"\b(rate|increase)\(", expression))


def test_everything_that_is_offered_is_shown() -> None:
    shown = {used(expression) for expression, _ in QUERIES}
    histograms = {name.removesuffix("_bucket") for name in shown if name.endswith("_bucket")}
    parts = {name + part for name in histograms for part in ("_sum", "_count")}
    assert set(OFFERED) == shown | parts


def test_the_dashboard_asks_for_its_data_source_and_its_instance() -> None:
    assert [given["name"] for given in DASHBOARD["__inputs"]] == ["DS_PROMETHEUS"]
    sources = {panel["datasource"]["uid"] for panel in PANELS}
    assert sources == {"${DS_PROMETHEUS}"}
    (variable,) = DASHBOARD["templating"]["list"]
    assert variable["name"] == "instance"
    asked = re.findall(r"(?:swapyard|llamaswap)_\w+", variable["definition"])
    assert asked
    assert set(asked) <= set(OFFERED)


def test_panels_have_their_own_numbers_and_places() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
