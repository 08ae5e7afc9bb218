"""Which rows of the activity log are asked for: the words of the API, checked and made SQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from swapyard.errors import Fault, RequestError
from swapyard.observe.timestamps import from_rfc3339

DEFAULT_LIMIT = 25
MOST_ROWS = 999

MOST_VALUES = 200
"""Values of one filter; the database takes conditions of a thousand parts.

Source: https://sqlite.org/limits.html, SQLITE_MAX_EXPR_DEPTH.
"""

SORT_COLUMNS = {
    "id": "id",
    "time": "ts_created",
    "model": "model_id",
    "req_path": "req_path",
    "resp_status_code": "resp_status_code",
    "resp_content_type": "resp_content_type",
    "cached": "cache_tokens",
    "prompt": "input_tokens",
    "generated": "output_tokens",
    "drafted": "draft_tokens",
    "prompt_speed": "prompt_per_second",
    "gen_speed": "tokens_per_second",
    "duration": "duration_ms",
}


@dataclass(frozen=True, slots=True)
class ActivityQuery:
    """Filters are ANDed, several values of one filter are ORed; empty means any.

    `start` and `end` are whole seconds since 1970, inclusive.  `statuses` holds single status
    codes and classes (`5xx`).  `text` is looked for in model, path, error, request id and session.
    """

    models: tuple[str, ...] = ()
    start: int | None = None
    end: int | None = None
    min_id: int | None = None
    max_id: int | None = None
    statuses: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    request_id: str = ""
    text: str = ""
    page: int = 1
    limit: int = DEFAULT_LIMIT
    sort: str = "id"
    descending: bool = True

    def where(self) -> tuple[str, list[object]]:
        """A condition over `activity` joined with `activity_details`, and its values."""
        terms: list[str] = []
        values: list[object] = []

        def one(term: str, value: object) -> None:
            terms.append(term)
            values.append(value)

        for column, wanted in (
            ("model_id", self.models),
            ("req_path", self.paths),
            ("api_key", self.keys),
            ("session", self.sessions),
        ):
            if wanted:
                terms.append(f"{column} IN ({', '.join('?' * len(wanted))})")
                values.extend(wanted)
        for term, bound in (
            ("ts_created >= ?", self.start),
            ("ts_created <= ?", self.end),
            ("id >= ?", self.min_id),
            ("id <= ?", self.max_id),
        ):
            if bound is not None:
                one(term, bound)
        if self.statuses:
            ranges = [_status_range(status) for status in self.statuses]
            terms.append("(" + " OR ".join(["resp_status_code BETWEEN ? AND ?"] * len(ranges)) + ")")
            values.extend(bound for pair in ranges for bound in pair)
        if self.request_id:
            one("request_id = ?", self.request_id)
        if self.text:
            columns = (
                "model_id",
                "req_path",
                "error_msg",
                "coalesce(request_id, '')",
                "coalesce(session, '')",
            )
            terms.append("(" + " OR ".join(f"instr(lower({column}), ?) > 0" for column in columns) + ")")
            values.extend([self.text.lower()] * len(columns))
        return (" AND ".join(terms) or "1"), values


def parse_query(parameters: Sequence[tuple[str, str]]) -> ActivityQuery:
    """Read the query parameters of `GET /api/metrics/activity`; blank ones count as absent.

    Raises RequestError(BAD_REQUEST) with the wording of the published API.  Besides the
    reference's parameters there are `status` (`502`, `5xx`), `path`, `key`, `session`, all of which
    may repeat, `request_id` and `q` (text).
    """
    given: dict[str, list[str]] = {}
    for name, value in parameters:
        if value.strip():
            given.setdefault(name, []).append(value.strip())
    for name in ("model", "status", "path", "key", "session"):
        if len(given.get(name, ())) > MOST_VALUES:
            raise _bad(f"at most {MOST_VALUES} values of {name}")
    first = {name: values[0] for name, values in given.items()}
    start, end = _instant(first, "start"), _instant(first, "end")
    if start is not None and end is not None and start > end:
        raise _bad("start must be before end")
    min_id, max_id = _id(first, "min_id"), _id(first, "max_id")
    if min_id is not None and max_id is not None and min_id > max_id:
        raise _bad("min_id must be <= max_id")
    sort = first.get("sort", "id")
    if sort not in SORT_COLUMNS:
        raise _bad("invalid sort column")
    order = first.get("order", "desc").lower()
    if order not in ("asc", "desc"):
        raise _bad("order must be asc or desc")
    return ActivityQuery(
        models=tuple(given.get("model", ())),
        start=start,
        end=end,
        min_id=min_id,
        max_id=max_id,
        statuses=_statuses(given.get("status", [])),
        paths=tuple(given.get("path", ())),
        keys=tuple(given.get("key", ())),
        sessions=tuple(given.get("session", ())),
        request_id=first.get("request_id", ""),
        text=first.get("q", ""),
        page=_page(first),
        limit=_limit(first),
        sort=sort,
        descending=order == "desc",
    )


def _bad(message: str) -> RequestError:
    return RequestError(Fault.BAD_REQUEST, message)


def _instant(given: dict[str, str], name: str) -> int | None:
    if name not in given:
        return None
    try:
        return int(from_rfc3339(given[name]) // 1)
    except (ValueError, OverflowError) as error:
        raise _bad(f"invalid '{name}' timestamp, use RFC3339 format") from error


def _integer(text: str) -> int | None:
    """A decimal integer that fits the database, else None."""
    digits = text.removeprefix("-").removeprefix("+")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
        return None
    return int(text)


def _id(given: dict[str, str], name: str) -> int | None:
    if name not in given:
        return None
    number = _integer(given[name])
    if number is None or number < 1:
        raise _bad(f"{name} must be >= 1")
    return number


def _page(given: dict[str, str]) -> int:
    number = _integer(given.get("page", "1"))
    # The offset, page times limit, has to fit SQLite's integers.
    if number is None or not 1 <= number <= 10**15:
        raise _bad("page must be >= 1")
    return number


def _limit(given: dict[str, str]) -> int:
    number = _integer(given.get("limit", str(DEFAULT_LIMIT)))
    if number is None:
        raise _bad("invalid limit")
    if not 1 <= number <= MOST_ROWS:
        raise _bad(f"limit must be between 1 and {MOST_ROWS}")
    return number


def _statuses(given: list[str]) -> tuple[str, ...]:
    for status in given:
        if len(status) != 3 or not status[0].isdigit() or not (status[1:].isdigit() or status[1:] == "xx"):
            raise _bad("status must be a code like 502 or a class like 5xx")
    return tuple(given)


def _status_range(status: str) -> tuple[int, int]:
    if status.endswith("xx"):
        return int(status[0]) * 100, int(status[0]) * 100 + 99
    return int(status), int(status)
