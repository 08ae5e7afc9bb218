"""The time stamps that log lines may begin with, by the names `logTimeFormat` knows.

Source of the names and shapes: the llama-swap configuration, key `logTimeFormat`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache

# Own names of days and months: `strftime` would follow the process's locale.
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

Stamp = Callable[[datetime, int], str]
"""Writes a zoned time; the second argument is the fraction of its second in nanoseconds."""


def stamp(name: str) -> Stamp | None:
    """The format of this name (any case, blanks around it ignored); None means no time stamp."""
    return _STAMPS.get(name.strip().lower())


def local_time(clock_ns: int) -> tuple[datetime, int]:
    """Nanoseconds since 1970 as local time and the nanoseconds within its second."""
    seconds, fraction_ns = divmod(clock_ns, 1_000_000_000)
    return _local_second(seconds), fraction_ns


@lru_cache(maxsize=2)
def _local_second(seconds: int) -> datetime:
    # Many lines fall into the same second, and asking for its zone takes longer than all the rest.
    return datetime.fromtimestamp(seconds).astimezone()


def rfc3339(at: datetime) -> str:
    """RFC 3339 with as many fraction digits as needed (microseconds at most), `Z` for UTC."""
    return _rfc3339nano(at, at.microsecond * 1000)


def _clock(at: datetime) -> str:
    return f"{at.hour:02}:{at.minute:02}:{at.second:02}"


def _day(at: datetime) -> str:
    return _DAYS[at.weekday()]


def _month(at: datetime) -> str:
    return _MONTHS[at.month - 1]


def _offset(at: datetime, separator: str = "") -> str:
    shift = at.utcoffset()
    minutes = 0 if shift is None else round(shift.total_seconds() / 60)
    hours, minutes = divmod(abs(minutes), 60)
    sign = "-" if shift is not None and shift.total_seconds() < 0 else "+"
    return f"{sign}{hours:02}{separator}{minutes:02}"


def _zone(at: datetime) -> str:
    return at.tzname() or _offset(at)


def _rfc3339_seconds(at: datetime, fraction: str) -> str:
    zone = _offset(at, ":")
    if zone == "+00:00":
        zone = "Z"
    return f"{at.year:04}-{at.month:02}-{at.day:02}T{_clock(at)}{fraction}{zone}"


def _rfc3339(at: datetime, _: int) -> str:
    return _rfc3339_seconds(at, "")


def _rfc3339nano(at: datetime, ns: int) -> str:
    return _rfc3339_seconds(at, f".{ns:09}".rstrip("0") if ns else "")


def _ansic(at: datetime, _: int) -> str:
    return f"{_day(at)[:3]} {_month(at)} {at.day:>2} {_clock(at)} {at.year}"


def _unixdate(at: datetime, _: int) -> str:
    return f"{_day(at)[:3]} {_month(at)} {at.day:>2} {_clock(at)} {_zone(at)} {at.year}"


def _rubydate(at: datetime, _: int) -> str:
    return f"{_day(at)[:3]} {_month(at)} {at.day:02} {_clock(at)} {_offset(at)} {at.year}"


def _rfc822_date(at: datetime) -> str:
    return f"{at.day:02} {_month(at)} {at.year % 100:02} {at.hour:02}:{at.minute:02}"


def _rfc822(at: datetime, _: int) -> str:
    return f"{_rfc822_date(at)} {_zone(at)}"


def _rfc822z(at: datetime, _: int) -> str:
    return f"{_rfc822_date(at)} {_offset(at)}"


def _rfc850(at: datetime, _: int) -> str:
    return f"{_day(at)}, {at.day:02}-{_month(at)}-{at.year % 100:02} {_clock(at)} {_zone(at)}"


def _rfc1123_date(at: datetime) -> str:
    return f"{_day(at)[:3]}, {at.day:02} {_month(at)} {at.year} {_clock(at)}"


def _rfc1123(at: datetime, _: int) -> str:
    return f"{_rfc1123_date(at)} {_zone(at)}"


def _rfc1123z(at: datetime, _: int) -> str:
    return f"{_rfc1123_date(at)} {_offset(at)}"


def _kitchen(at: datetime, _: int) -> str:
    return f"{at.hour % 12 or 12}:{at.minute:02}{'AM' if at.hour < 12 else 'PM'}"


def _stamp(at: datetime, _: int) -> str:
    return f"{_month(at)} {at.day:>2} {_clock(at)}"


def _stampmilli(at: datetime, ns: int) -> str:
    return f"{_stamp(at, ns)}.{ns // 1_000_000:03}"


def _stampmicro(at: datetime, ns: int) -> str:
    return f"{_stamp(at, ns)}.{ns // 1000:06}"


def _stampnano(at: datetime, ns: int) -> str:
    return f"{_stamp(at, ns)}.{ns:09}"


_STAMPS: dict[str, Stamp] = {
    "ansic": _ansic,
    "unixdate": _unixdate,
    "rubydate": _rubydate,
    "rfc822": _rfc822,
    "rfc822z": _rfc822z,
    "rfc850": _rfc850,
    "rfc1123": _rfc1123,
    "rfc1123z": _rfc1123z,
    "rfc3339": _rfc3339,
    "rfc3339nano": _rfc3339nano,
    "kitchen": _kitchen,
    "stamp": _stamp,
    "stampmilli": _stampmilli,
    "stampmicro": _stampmicro,
    "stampnano": _stampnano,
}
