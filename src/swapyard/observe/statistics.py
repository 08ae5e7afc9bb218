"""Sums and histograms over the activity log, worked out inside the database."""

from __future__ import annotations

import math
import sqlite3
from typing import Any

_FEWEST_BINS = 5
_MOST_BINS = 20


def statistics(connection: sqlite3.Connection, model: str) -> dict[str, Any]:
    """Totals and both speed histograms of one model, of all models if `model` is "".

    The caller holds a read transaction, so that all numbers speak of the same rows.
    """
    where, values = ("model_id = ?", [model]) if model else ("1", [])
    totals = connection.execute(
        "SELECT count(*), coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0),"
        f" coalesce(sum(max(cache_tokens, 0)), 0) FROM activity WHERE {where}",
        values,
    ).fetchone()
    return {
        "total_requests": totals[0],
        "total_input_tokens": totals[1],
        "total_output_tokens": totals[2],
        "total_cache_tokens": totals[3],
        "prompt_histogram": histogram(connection, "prompt_per_second", where, values),
        "gen_histogram": histogram(connection, "tokens_per_second", where, values),
    }


def histogram(
    connection: sqlite3.Connection, column: str, where: str, values: list[Any]
) -> dict[str, Any] | None:
    """Equal bins between the least and the greatest of the values above 0; None if there are none."""
    where = f"{where} AND {column} > 0"
    count, least, greatest = connection.execute(
        f"SELECT count(*), min({column}), max({column}) FROM activity WHERE {where}", values
    ).fetchone()
    if not count:
        return None
    if least == greatest:
        bins, width = [count], 0.0
    else:
        # ceil(log2 n) + 1, without the rounding of a logarithm.
        bin_count = min(max((count - 1).bit_length() + 1, _FEWEST_BINS), _MOST_BINS)
        width = (greatest - least) / bin_count
        bins = _bins(connection, column, where, values, least, width, bin_count)
    p50, p95, p99 = _percentiles(connection, column, where, values, count)
    return {
        "bins": bins,
        "min": least,
        "max": greatest,
        "binSize": width,
        "p50": p50,
        "p95": p95,
        "p99": p99,
    }


def _bins(
    connection: sqlite3.Connection,
    column: str,
    where: str,
    values: list[Any],
    least: float,
    width: float,
    bin_count: int,
) -> list[int]:
    bins = [0] * bin_count
    if width == 0:  # two values closer to each other than a float can be divided
        bins[0] = connection.execute(f"SELECT count(*) FROM activity WHERE {where}", values).fetchone()[0]
        return bins
    rows = connection.execute(
        f"SELECT min(CAST(({column} - ?) / ? AS INTEGER), ?) AS bin, count(*) FROM activity"
        f" WHERE {where} GROUP BY bin",
        [least, width, bin_count - 1, *values],
    )
    for place, size in rows:
        bins[place] = size
    return bins


def _percentiles(
    connection: sqlite3.Connection, column: str, where: str, values: list[Any], count: int
) -> list[float]:
    """Linear interpolation at rank p/100 * (n - 1) of the sorted values."""
    ranks = [percent / 100 * (count - 1) for percent in (50, 95, 99)]
    places = sorted({place for rank in ranks for place in (math.floor(rank), math.ceil(rank))})
    found = dict(
        connection.execute(
            f"SELECT place, value FROM (SELECT {column} AS value, row_number() OVER (ORDER BY {column}) - 1"
            f" AS place FROM activity WHERE {where}) WHERE place IN ({', '.join('?' * len(places))})",
            [*values, *places],
        ).fetchall()
    )
    percentiles = []
    for rank in ranks:
        low, high = found[math.floor(rank)], found[math.ceil(rank)]
        percentiles.append(low + (rank - math.floor(rank)) * (high - low))
    return percentiles
