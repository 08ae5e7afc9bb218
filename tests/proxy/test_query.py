"""Query strings and urlencoded forms."""

from __future__ import annotations

from urllib.parse import parse_qsl, quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swapyard.proxy import query
from swapyard.proxy.slices import finished


def first(text: bytes, name: bytes = b"model", limit: int = 100) -> bytes | None:
    return finished(query.first_value(text, name, limit))


def changed(text: bytes, value: str) -> bytes | None:
    spliced = finished(query.with_value(text, b"model", value))
    return None if spliced is None else bytes(spliced)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"", None),
        (b"model=m", b"m"),
        (b"&&model", b""),
        (b"model=&model=m", b""),
        (b"Model=m&models=m&xmodel=m&model%=m&x=model=m", None),
        (b"a=1;model=2&model=3", b"3"),
        (b"model=1;&model=%zz&model=%4&model=%&model=%41", b"A"),
        (b"%6dod%65l=m", b"m"),
        (b"mode%6c=m", b"m"),
        (b"mode%6C=m", b"m"),
        (b"model=c+d%2B", b"c d+"),
        (b"model=b=c", b"b=c"),
        (b"model=%ff", b"\xff"),
    ],
)
def test_the_first_well_written_pair_of_a_name_counts(text: bytes, value: bytes | None) -> None:
    assert first(text) == value


def test_a_value_that_is_too_long_is_only_known_to_be_longer() -> None:
    for value in (b"m" * 101, b"%41" * 101, b"m" * 1_000_000, b"%41" * 1_000_000):
        found = first(b"x=1&model=" + value + b"&y=2")
        assert found is not None and 100 < len(found) < 400


def test_a_changed_text_has_one_pair_of_the_name_and_the_others_as_they_were() -> None:
    text = b"z=2&&model=a&z=%7e1&mode%6c=b&A=+%2f&model=%zz&model"
    assert changed(text, "ü /") == b"z=2&&model=%C3%BC+%2F&z=%7e1&A=+%2f&model=%zz"
    assert changed(b"a=1&b", "m") is None


pairs = st.lists(st.tuples(st.sampled_from(["model", "a", "b c", "ü"]) | st.text(), st.text()))
fillings = st.sampled_from([0, 1, query.STEP_BYTES - 20, query.STEP_BYTES, 3 * query.STEP_BYTES])


@given(pairs, pairs, fillings, st.booleans())
def test_what_the_standard_library_writes_is_read_and_changed(
    before: list[tuple[str, str]], after: list[tuple[str, str]], filling: int, is_one_pair: bool
) -> None:
    filled = [("filling", "x" * filling)] if is_one_pair else [("f", "x")] * (filling // 4)
    text = urlencode([*before, *filled, *after], errors="replace").encode()
    parsed = parse_qsl(text.decode(), keep_blank_values=True)
    values = [value for name, value in parsed if name == "model"]
    assert first(text, limit=10_000) == (values[0].encode() if values else None)
    new = changed(text, "new one")
    if not values:
        assert new is None
        return
    at = [name for name, _ in parsed].index("model")
    others = [pair for pair in parsed[at:] if pair[0] != "model"]
    assert new is not None
    assert parse_qsl(new.decode(), keep_blank_values=True) == [*parsed[:at], ("model", "new one"), *others]


@given(st.binary(), st.binary())
def test_any_bytes_around_a_pair_survive_its_change(before: bytes, after: bytes) -> None:
    around = [quote_plus(before).encode(), quote_plus(after).encode()]
    assert changed(b"&model=old&".join(around), "m") == b"&model=m&".join(around)
