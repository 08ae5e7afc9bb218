"""Names and values of filter parameters."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swapyard.config.load import load_text
from swapyard.config.parameters import LARGEST_INDEX, json_text, validate_param_path, validate_param_value
from swapyard.errors import ConfigError


@pytest.mark.parametrize(
    "path", ["a", "a.b.c", "a.0", "a.-1", r"a\.b", ":5", r"\*", "a..b", "@type", "a|b", "é"]
)
def test_ordinary_paths_are_fine(path: str) -> None:
    assert validate_param_path(path) is None


@pytest.mark.parametrize(
    ("path", "word"),
    [("", "empty"), ("a.*", "'*'"), ("a?", "'?'"), ("a.#", "'#'"), (f"a.{LARGEST_INDEX + 1}", "index")],
)
def test_paths_that_cannot_work_are_explained(path: str, word: str) -> None:
    problem = validate_param_path(path)
    assert problem is not None
    assert word in problem


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, b"null"),
        (True, b"true"),
        (1234567890123456789012345, b"1234567890123456789012345"),
        (1.0, b"1"),
        (1.5e-9, b"0.0000000015"),
        (1e22, b"10000000000000000000000"),
        (100.0, b"100"),
        (-0.25, b"-0.25"),
        ('é"\n', '"é\\"\\n"'.encode()),
        ([1, [], {}], b"[1,[],{}]"),
        ({"b": 1, "a": 2.0}, b'{"a":2,"b":1}'),
        ({2: "x", True: None}, b'{"2":"x","true":null}'),
    ],
)
def test_values_are_written_as_compact_json(value: Any, text: bytes) -> None:
    assert json_text(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_is_read_back_as_it_was(value: float) -> None:
    text = json_text(value)
    assert float(text) == value
    assert b"e" not in text


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    )
)
def test_whatever_json_can_say_survives(value: Any) -> None:
    assert json.loads(json_text(value)) == value


@pytest.mark.parametrize(
    "value", [float("nan"), [float("inf")], {"a": datetime.date(2026, 1, 1)}, b"bytes", {(1, 2): 3}, "\ud800"]
)
def test_values_that_json_cannot_say_are_explained(value: Any) -> None:
    assert validate_param_value(value)
    assert validate_param_value(["fine", 1.5, None]) is None


@pytest.mark.parametrize(
    ("filters", "path"),
    [
        ("stripParams: 'a, b*'", "models.m.filters.stripParams"),
        ("setParams: {'a.#': 1}", "models.m.filters.setParams.a.#"),
        ("setParamsByID: {m:x: {'a?': 1}}", "models.m.filters.setParamsByID.m:x.a?"),
    ],
)
def test_a_parameter_that_no_body_can_have_is_refused_at_load(filters: str, path: str) -> None:
    text = f"models: {{m: {{cmd: s, proxy: 'http://h', filters: {{{filters}}}}}}}\n"
    with pytest.raises(ConfigError) as refused:
        load_text(text, {})
    (problem,) = refused.value.problems
    assert problem.path == path
    assert "is not supported" in problem.rule
