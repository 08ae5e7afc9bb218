"""Query strings and urlencoded forms."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swapyard.errors import RequestError
from swapyard.proxy.query import (
    LONGEST_QUERY_BYTES,
    MOST_PAIRS,
    first_value,
    parse_pairs,
    parse_query,
    with_value,
)


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        (b"", []),
        (b"a=1&&b", [(b"a", b"1"), (b"b", b"")]),
        (b"a=1;b=2&c=3", [(b"c", b"3")]),
        (b"a=%zz&%=1&b=%4&c=%41", [(b"c", b"A")]),
        (b"a+b=c+d%2B", [(b"a b", b"c d+")]),
        (b"a=b=c", [(b"a", b"b=c")]),
        (b"a=%ff", [(b"a", b"\xff")]),
        (b"=x", [(b"", b"x")]),
    ],
)
def test_pairs_are_read_strictly(text: bytes, pairs: list[tuple[bytes, bytes]]) -> None:
    assert parse_pairs(text) == pairs


def test_queries_that_take_long_to_read_are_refused() -> None:
    assert len(parse_query(b"a&" * (MOST_PAIRS - 1))) == MOST_PAIRS - 1
    with pytest.raises(RequestError, match="more than 10000 parameters"):
        parse_query(b"&" * MOST_PAIRS)
    with pytest.raises(RequestError, match="longer than 65536 bytes"):
        parse_query(b"a=" + bytes(LONGEST_QUERY_BYTES))


def test_an_empty_value_is_a_value() -> None:
    pairs = [(b"model", b""), (b"model", b"m")]
    assert first_value(pairs, b"model") == ""
    assert first_value(pairs, b"absent") is None


def test_writing_sorts_the_names_and_keeps_the_order_within_one() -> None:
    pairs = [(b"z", b"2"), (b"model", b"a"), (b"z", b"1"), (b"model", b"b"), (b"A", b" /~\xff")]
    assert with_value(pairs, b"model", "ü") == b"A=+%2F~%FF&model=%C3%BC&z=2&z=1"


@given(st.lists(st.tuples(st.text(), st.text())))
def test_what_the_standard_library_writes_is_read_back(pairs: list[tuple[str, str]]) -> None:
    text = urlencode([(key, value) for key, value in pairs], errors="replace").encode()
    expected = parse_qsl(text.decode(), keep_blank_values=True)
    assert [(key.decode(), value.decode()) for key, value in parse_pairs(text)] == expected


@given(st.lists(st.tuples(st.binary(), st.binary())))
def test_any_bytes_survive_being_written_and_read(pairs: list[tuple[bytes, bytes]]) -> None:
    kept = [pair for pair in pairs if pair[0] != b"model"]
    assert parse_pairs(with_value(kept, b"model", "m")) == sorted(
        [*kept, (b"model", b"m")], key=lambda pair: pair[0]
    )
