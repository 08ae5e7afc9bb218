from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from swapyard.observe.log_times import local_time, rfc3339, stamp

PDT = timezone(timedelta(hours=-7), "PDT")
AT = datetime(2026, 8, 22, 9, 29, 57, tzinfo=PDT)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ansic", "Sat Aug 22 09:29:57 2026"),
        ("unixdate", "Sat Aug 22 09:29:57 PDT 2026"),
        ("rubydate", "Sat Aug 22 09:29:57 -0700 2026"),
        ("rfc822", "22 Aug 26 09:29 PDT"),
        ("rfc822z", "22 Aug 26 09:29 -0700"),
        ("rfc850", "Saturday, 22-Aug-26 09:29:57 PDT"),
        ("rfc1123", "Sat, 22 Aug 2026 09:29:57 PDT"),
        ("rfc1123z", "Sat, 22 Aug 2026 09:29:57 -0700"),
        ("rfc3339", "2026-08-22T09:29:57-07:00"),
        ("rfc3339nano", "2026-08-22T09:29:57.123456-07:00"),
        ("kitchen", "9:29AM"),
        ("stamp", "Aug 22 09:29:57"),
        ("stampmilli", "Aug 22 09:29:57.123"),
        ("stampmicro", "Aug 22 09:29:57.123456"),
        ("stampnano", "Aug 22 09:29:57.123456000"),
    ],
)
def test_each_format_writes_its_shape(name: str, text: str) -> None:
    write = stamp(f" {name.upper()} ")
    assert write is not None
    assert write(AT, 123_456_000) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ansic", "Fri Jan  2 00:04:05 2026"),
        ("unixdate", "Fri Jan  2 00:04:05 UTC 2026"),
        ("rubydate", "Fri Jan 02 00:04:05 +0000 2026"),
        ("rfc822", "02 Jan 26 00:04 UTC"),
        ("rfc3339", "2026-01-02T00:04:05Z"),
        ("rfc3339nano", "2026-01-02T00:04:05Z"),
        ("kitchen", "12:04AM"),
        ("stamp", "Jan  2 00:04:05"),
        ("stampmilli", "Jan  2 00:04:05.000"),
    ],
)
def test_single_digits_midnight_and_utc_have_their_own_shapes(name: str, text: str) -> None:
    write = stamp(name)
    assert write is not None
    assert write(datetime(2026, 1, 2, 0, 4, 5, tzinfo=UTC), 0) == text


@pytest.mark.parametrize("name", ["", "  ", "iso8601"])
def test_an_unknown_format_means_no_time_stamp(name: str) -> None:
    assert stamp(name) is None


def test_nanoseconds_survive_the_way_to_local_time() -> None:
    at, fraction_ns = local_time(1_787_390_997_123_456_789)
    assert at.timestamp() == 1_787_390_997
    assert fraction_ns == 123_456_789


def test_zones_of_half_hours_keep_their_minutes() -> None:
    zone = timezone(timedelta(hours=-3, minutes=-30))
    assert rfc3339(datetime(2026, 8, 22, 1, 2, 3, 500_000, tzinfo=zone)) == "2026-08-22T01:02:03.5-03:30"
