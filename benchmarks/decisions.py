"""The scheduler alone: decisions a second, and how their cost grows with the number of those who wait."""

from __future__ import annotations

from statistics import median

from scheduler import fives, names, pairs, turnover, warm

from swapyard.scheduling.groups import group_planner
from swapyard.scheduling.matrix import matrix_planner
from swapyard.scheduling.policy import OrderKind

WAITING = (10, 1_000, 100_000)


def show(rounds: int = 3) -> None:
    print(f"\n{'scheduler, ten models':34}" + "".join(f"{f'{count:,} waiting':>18}" for count in WAITING))
    models = names(10)
    kinds = (
        ("fifo, all exclusive", group_planner([]), OrderKind.FIFO),
        ("fifo, groups of five", group_planner(fives(models)), OrderKind.FIFO),
        ("fifo, matrix of pairs", matrix_planner(pairs(models)), OrderKind.FIFO),
        ("serial", group_planner([]), OrderKind.SERIAL),
    )
    for title, planner, order in kinds:
        for what, measure in (("all", turnover), ("ready model", warm)):
            if measure is warm and order is OrderKind.SERIAL:
                continue
            figures = [
                median(measure(models, planner, order, count) for _ in range(rounds)) for count in WAITING
            ]
            row = f"{title}: {what}, 1/s"
            print(f"{row:34}" + "".join(f"{figure:18,.0f}" for figure in figures), flush=True)
