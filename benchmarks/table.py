"""Figures of several contestants over several rounds, and the table that shows them as ratios."""

from __future__ import annotations

from collections import defaultdict
from statistics import median


class Table:
    """`add` every sample; `show` prints medians with minimum and maximum, against the first contestant."""

    def __init__(self, title: str, names: list[str]) -> None:
        self._title = title
        self._names = names
        self._samples: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self._units: dict[str, str] = {}

    def add(self, row: str, unit: str, name: str, value: float) -> None:
        self._units[row] = unit
        self._samples[row][name].append(value)

    def median(self, row: str, name: str) -> float:
        return median(self._samples[row][name])

    def show(self) -> None:
        width = max(34, *(len(row) + len(unit) + 2 for row, unit in self._units.items()))
        print(f"\n{self._title:{width}}" + "".join(f"{name:>34}" for name in self._names))
        for row, samples in self._samples.items():
            line = f"{row + ', ' + self._units[row]:{width}}"
            first = self._names[0]
            for name in self._names:
                line += self._cell(samples.get(name), samples.get(first) if name != first else None)
            print(line.rstrip(), flush=True)

    @staticmethod
    def _cell(values: list[float] | None, against: list[float] | None) -> str:
        if not values:
            return f"{'':>34}"
        shown = f"{number(median(values))} [{number(min(values))}..{number(max(values))}]"
        if against and median(against):
            shown += f"  x{median(values) / median(against):.2f}"
        return f"{shown:>34}"


def number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
