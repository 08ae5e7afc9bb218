"""A short chaos under every policy; `make chaos SEED=…` plays longer ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.chaos.play import play
from tests.chaos.schedule import Policy, make

SECONDS = 12.0
SEEDS = {Policy.SERIAL: 44, Policy.FIFO: 4, Policy.GROUPS: 8, Policy.MATRIX: 2}
"""Ones whose schedules have every kind of blow in them."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("policy", list(Policy))
def test_whatever_befalls_it_every_request_ends_honestly_and_nothing_is_left(
    tmp_path: Path, policy: Policy
) -> None:
    result = play(tmp_path, SEEDS[policy], policy, SECONDS)
    assert result.complaints == []
    assert len(result.outcomes) > len(result.blows) > 1


def test_a_seed_is_a_schedule() -> None:
    assert make(7, Policy.FIFO, 60) == make(7, Policy.FIFO, 60)
    assert make(7, Policy.FIFO, 60) != make(8, Policy.FIFO, 60)
