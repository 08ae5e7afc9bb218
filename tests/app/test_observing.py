"""What a configuration asks of those who watch."""

from __future__ import annotations

from pathlib import Path

import pytest

from swapyard.app.observing import DAY, open_store
from swapyard.config.load import load_text
from swapyard.observe.activity import ActivityRow
from swapyard.observe.activity_query import ActivityQuery
from swapyard.observe.tokens import NOTHING

NOW = 100 * DAY


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ("", [4, 3, 2, 1]),
        (", maxAgeDays: 2", [4, 3]),
        (", maxAgeDays: 0.5", [4]),
        (", maxRows: 3", [4, 3, 2]),
        (", maxRows: 3, maxAgeDays: 2", [4, 3]),
        (", maxRows: 0, maxAgeDays: 0", [4, 3, 2, 1]),
    ],
)
def test_rows_in_a_file_are_kept_as_long_as_the_configuration_says(
    tmp_path: Path, settings: str, kept: list[int]
) -> None:
    store = open_store(load_text(f"store: {{path: {tmp_path}/activity.db{settings}}}", {}).config)
    for age_days in (30, 3, 1, 0):
        at = NOW - age_days * DAY
        store.add([ActivityRow(0, at, "m", "/v1/completions", "", 200, NOTHING, 1, "", {})])
    store.prune(NOW)
    page = store.page(ActivityQuery(), lambda _: set())
    assert [row["id"] for row in page["data"]] == kept
    store.close()
