"""Where members and elements lie in JSON text, valid or damaged."""

from __future__ import annotations

import json
import mmap
import tempfile

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from swapyard.proxy import json_scan
from swapyard.proxy.json_scan import Level, Slot, Source, Wanted, string_value
from swapyard.proxy.slices import finished

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


ALL = frozenset(["a", "b", "c", "k", "list", "model", ""])


def scan(text: Source, names: frozenset[str] = ALL, index: int = 100, most: int = 100) -> Level | None:
    return finished(json_scan.scan(text, 0, len(text), Wanted(names, index, most)))


def first_members(text: Source, *names: str) -> dict[str, bytes]:
    slots = finished(json_scan.first_slots(text, Wanted(frozenset(names)))).slots
    return {key: bytes(text[slot.value : slot.end]) for key, slot in slots.items()}


def slots(level: Level | None) -> list[Slot]:
    assert level is not None
    return [item for item in level.items if isinstance(item, Slot)]


def texts(body: bytes, level: Level | None) -> list[tuple[str | None, bytes]]:
    return [(slot.key, body[slot.value : slot.end]) for slot in slots(level)]


def test_members_are_found_with_their_blanks_and_duplicates() -> None:
    body = b' { "a" : 1 , "a":"x,}" ,"\\u0062":[ ] } '
    level = scan(body)
    assert texts(body, level) == [("a", b"1"), ("a", b'"x,}"'), ("b", b"[ ]")]
    assert level is not None
    assert [body[slot.start : slot.stop] for slot in slots(level)] == [
        b' "a" : 1 ',
        b' "a":"x,}" ',
        b'"\\u0062":[ ] ',
    ]
    assert (level.opening, level.closing) == (1, len(body) - 2)


@pytest.mark.parametrize(
    ("body", "found", "is_closed"),
    [
        (b'{"a":1,"b":[1,{"c":"]}', [("a", b"1")], False),
        (b'{"a":1,"b":"cut', [("a", b"1")], False),
        (b'{"a":{"x":"}"},"b":2} rubbish', [("a", b'{"x":"}"}'), ("b", b"2")], True),
        (b'{"a":1,}', [("a", b"1")], True),
        (b'{"a":1 "b":2}', [("a", b"1"), ("b", b"2")], True),
        (b'{"a":,"b":2}', [("b", b"2")], True),
        (b'\xef\xbb\xbf{"a":NaN}', [("a", b"NaN")], True),
        (b'[1,"]",', [(None, b"1"), (None, b'"]"')], False),
        (b"[1,,2]", [(None, b"1")], False),
        (b"[1}", [(None, b"1")], False),
        (b"{", [], False),
        (b'{"a', [], False),
        (b'{"a"', [], False),
    ],
)
def test_damaged_text_is_read_as_far_as_it_goes(
    body: bytes, found: list[tuple[str | None, bytes]], is_closed: bool
) -> None:
    level = scan(body)
    assert texts(body, level) == found
    assert level is not None
    assert (level.closing is not None) is is_closed


@pytest.mark.parametrize("body", [b"", b"  ", b'"text"', b"12"])
def test_text_without_brackets_has_no_level(body: bytes) -> None:
    assert scan(body) is None


@given(json_values, st.sampled_from([None, 1]), st.binary(max_size=3))
def test_the_tolerant_scanner_agrees_with_the_strict_one(
    value: object, indent: int | None, rubbish: bytes
) -> None:
    text = json.dumps({"k": value, "list": [value, value]}, indent=indent).encode()
    strict = scan(text)
    assert strict is not None
    # A backslash behind the closing brace makes the text invalid, so that the other scanner reads it.
    tolerant = scan(text + b"\\" + rubbish)
    assert tolerant == strict
    assert [json.loads(text[slot.value : slot.end]) for slot in slots(strict)] == [value, [value, value]]


@given(json_values, st.integers(2, 9), st.integers(1, 20), st.integers(0, 8))
def test_a_text_in_a_file_is_read_alike_whatever_the_steps(
    value: object, step: int, window: int, cut: int
) -> None:
    text = json.dumps({"k": value, "list": ['\\"' * 5, value]}, ensure_ascii=False).encode("utf-8", "replace")
    text = text[: len(text) - cut]
    # A backslash behind it makes the text invalid, so that the same scanner reads it, in one step.
    whole = scan(text + b"\\")
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryFile() as file:
        for name in ("STEP_BYTES", "DENSE_STEP_BYTES", "FIRST_STEP_BYTES", "FINE_STEP_BYTES"):
            patch.setattr(json_scan, name, step)
        patch.setattr(json_scan, "WINDOW_BYTES", window)
        file.write(text)
        file.flush()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            assert scan(mapped) == whole


@example(b'{"\xff":1,"model":"m"}')
@given(st.binary(max_size=60) | st.text('{}[]",:\\ u01ant', max_size=60).map(str.encode))
def test_no_bytes_whatever_make_the_scanner_fail_or_leave_the_text(body: bytes) -> None:
    first_members(body, "model")
    level = scan(body)
    if level is None:
        return
    position = level.opening + 1
    for item in level.items:
        assert position <= item.start <= item.stop <= len(body)
        if isinstance(item, Slot):
            assert item.start <= item.value < item.end <= item.stop
        position = item.stop


@pytest.mark.parametrize("kind", ["bytes", "memoryview", "mmap"])
def test_every_kind_of_source_is_read_alike(kind: str) -> None:
    body = b'{"a":[1,2],"model":"m"}'
    with tempfile.TemporaryFile() as file:
        file.write(body)
        file.flush()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            sources: dict[str, Source] = {"bytes": body, "memoryview": memoryview(body), "mmap": mapped}
            source = sources[kind]
            for text in (source, source[:-1]):
                assert first_members(text, "model") == {"model": b'"m"'}
            assert scan(source) == scan(body)


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        (b'"\\u00e9\\/\\n"', "é/\n"),
        (b'"\\ud83d\\ude00"', "😀"),
        (b'"\\ud83d"', "\ufffd"),
        (b'"a\nb"', "a\nb"),
        (b'"\xff"', "\ufffd"),
        (b'"\\x"', "\\x"),
    ],
)
def test_string_literals_are_read_even_when_they_are_not_quite_right(literal: bytes, value: str) -> None:
    assert string_value(literal) == value
