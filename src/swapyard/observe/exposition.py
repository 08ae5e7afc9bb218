"""The Prometheus text format, version 0.0.4: families, samples, labels and numbers.

Written here and not with prometheus-client's writer: that one turns every value into a float, so that a byte
counter beyond 2^53 loses digits, spells 20 as `20.0`, and takes longer to import than the program has to
start.  The tests read what is written here with prometheus-client's parser.
Source: prometheus.io, "Exposition formats", text-based format.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable
from decimal import Decimal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[tuple[str, str], ...]

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


class Exposition:
    """Gathers families in the order they are added; a family without samples is left out."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def family(
        self, name: str, kind: str, meaning: str, samples: Iterable[tuple[Labels, float | None]]
    ) -> None:
        """Add a gauge or counter; a value of None is unknown and has no sample."""
        lines = [f"{name}{labels_text(labels)} {number(v)}" for labels, v in samples if v is not None]
        self._add(name, kind, meaning, lines)

    def histograms(self, name: str, meaning: str, histograms: Iterable[tuple[Labels, Histogram]]) -> None:
        lines: list[str] = []
        for labels, histogram in histograms:
            lines += histogram.lines(name, labels)
        self._add(name, "histogram", meaning, lines)

    def content(self) -> bytes:
        return "".join(f"{line}\n" for line in self._lines).encode(errors="replace")

    def _add(self, name: str, kind: str, meaning: str, lines: list[str]) -> None:
        if lines:
            self._lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}", *lines]


class Histogram:
    """Counts observations up to each bound; bounds ascend, the last bucket has none."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    @property
    def count(self) -> int:
        return sum(self._counts)

    def lines(self, name: str, labels: Labels) -> list[str]:
        lines = []
        total = 0
        for bound, count in zip((*self._bounds, math.inf), self._counts, strict=True):
            total += count
            lines.append(f"{name}_bucket{labels_text((*labels, ('le', number(bound))))} {total}")
        lines.append(f"{name}_sum{labels_text(labels)} {number(self._sum)}")
        lines.append(f"{name}_count{labels_text(labels)} {total}")
        return lines


def labels_text(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels) + "}"


def number(value: float) -> str:
    """The shortest text that reads back to the same number.

    Whole numbers have all their digits; others take an exponent below 1e-4 and from 1e6 on.
    """
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    shortest = Decimal(repr(value)).normalize()
    sign, digits, _ = shortest.as_tuple()
    exponent = shortest.adjusted()
    if not value or -4 <= exponent < 6:
        return f"{shortest:f}"
    fraction = "".join(map(str, digits[1:]))
    mantissa = f"{'-' if sign else ''}{digits[0]}{'.' if fraction else ''}{fraction}"
    return f"{mantissa}e{'-' if exponent < 0 else '+'}{abs(exponent):02}"
