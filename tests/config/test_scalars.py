"""Typing of unquoted scalars and rendering of numbers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swapyard.config.scalars import Kind, render, type_plain, type_scalar


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("", Kind.NULL, None),
        ("~", Kind.NULL, None),
        ("TRUE", Kind.BOOLEAN, True),
        ("yes", Kind.TEXT, "yes"),
        ("010", Kind.INTEGER, 8),
        ("0o17", Kind.INTEGER, 15),
        ("-0b11", Kind.INTEGER, -3),
        ("1_000", Kind.INTEGER, 1000),
        ("_5", Kind.TEXT, "_5"),
        ("08", Kind.FLOAT, 8.0),
        ("18446744073709551615", Kind.INTEGER, 2**64 - 1),
        ("18446744073709551616", Kind.FLOAT, 2.0**64),
        (".5", Kind.FLOAT, 0.5),
        ("1.", Kind.FLOAT, 1.0),
        ("-.inf", Kind.FLOAT, -math.inf),
        ("1:30", Kind.TEXT, "1:30"),
        ("2024-1-2T3:4:5", Kind.TEXT, "2024-1-2T3:4:5"),
        ("2024-02-30", Kind.TEXT, "2024-02-30"),
        ("...", Kind.TEXT, "..."),
    ],
)
def test_an_unquoted_scalar_is_typed_by_its_spelling(text: str, kind: Kind, value: object) -> None:
    typed = type_plain(text)
    assert (typed.kind, typed.value) == (kind, value)


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("2024-01-02", "2024-01-02T00:00:00Z"),
        ("2024-1-2 3:4:5", "2024-01-02T03:04:05Z"),
        ("2024-01-02T03:04:05.120+02:00", "2024-01-02T03:04:05.12+02:00"),
    ],
)
def test_a_date_is_rendered_with_its_zone(text: str, rendered: str) -> None:
    assert type_plain(text).kind is Kind.TIMESTAMP
    assert render(type_plain(text).value) == rendered


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"),
        (100000.25, "100000.25"),
        (999999.5, "999999.5"),
        (1e5, "100000"),
        (1e6, "1e+06"),
        (16777216.0, "1.6777216e+07"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (-0.0, "-0"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
        (True, "true"),
        (255, "255"),
    ],
)
def test_numbers_look_as_the_original_writes_them(value: float, text: str) -> None:
    assert render(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_rendered_float_reads_back_as_the_same_value(value: float) -> None:
    assert float(render(value)) == value


def test_a_tag_overrides_the_spelling() -> None:
    assert type_scalar("5", plain=True, tag="tag:yaml.org,2002:str").value == "5"
    assert type_scalar("5", plain=False, tag="tag:yaml.org,2002:int").value == 5
    assert type_scalar("5", plain=True, tag="tag:yaml.org,2002:float").kind is Kind.FLOAT
    assert type_scalar("5", plain=True, tag="!mine").value == 5


def test_a_tag_that_the_text_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot read 'x' as integer"):
        type_scalar("x", plain=True, tag="tag:yaml.org,2002:int")
