"""Multipart forms: their value fields found, and rewritten in place."""

from __future__ import annotations

import mmap
import tempfile
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swapyard.proxy.json_scan import Source
from swapyard.proxy.multipart import FormError, boundary_of, edits, value_fields
from swapyard.proxy.splice import splice

Part = tuple[str, bytes]

NAMES = [b"model", b"stream", b"n", b'a"b', b"a b", "ünï".encode()]


def form(*parts: Part, boundary: str = "XX") -> bytes:
    """A form of (header block without its last line end, content) parts, as browsers write it."""
    dash = b"--" + boundary.encode()
    written = [dash + b"\r\n" + head.encode() + b"\r\n\r\n" + content + b"\r\n" for head, content in parts]
    return b"".join(written) + dash + b"--\r\n"


def value(name: str, content: bytes) -> Part:
    return f'Content-Disposition: form-data; name="{name}"', content


def found(body: Source, boundary: bytes = b"XX") -> list[tuple[bytes, bytes]]:
    fields = value_fields(body, boundary, NAMES)
    return [(field.name, bytes(body[field.start : field.end])) for field in fields if field is not None]


def renamed(body: bytes, new: bytes) -> bytes:
    fields = [field for field in value_fields(body, b"XX", [b"model"]) if field is not None]
    return bytes(splice(body, [edit for field in fields for edit in edits(field, new)]))


WAV = 'Content-Disposition: form-data; name="model"; filename="model.wav"\r\nContent-Type: audio/wav'


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=XX", b"XX"),
        ('multipart/form-data; boundary="a b\\"c"', b'a b"c'),
        ("Multipart/Form-Data;charset=utf-8;BOUNDARY=----WebKit7a; x=y", b"----WebKit7a"),
    ],
)
def test_the_boundary_is_read_from_the_content_type(content_type: str, boundary: bytes) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize("content_type", ["multipart/form-data", 'multipart/form-data; boundary=""'])
def test_a_content_type_without_a_boundary_is_a_broken_form(content_type: str) -> None:
    with pytest.raises(FormError, match="boundary"):
        boundary_of(content_type)


def test_files_are_no_values_even_when_they_are_called_model() -> None:
    body = form((WAV, b"RIFF"), value("model", b"m1"), value("stream", b"true"))
    assert found(body) == [(b"model", b"m1"), (b"stream", b"true")]


@pytest.mark.parametrize(
    ("head", "name"),
    [
        ("content-disposition:form-data;name=model", b"model"),
        ('Content-Type: text/plain\r\nContent-Disposition: form-data; name="model"', b"model"),
        ('Content-Disposition: form-data;\r\n name="model"', b"model"),
        ('Content-Disposition: form-data; name="a\\"b"', b'a"b'),
        ('Content-Disposition: form-data; filename=""; name="model"', b"model"),
        ('Content-Disposition: form-data; x="; name=other"; name="model"', b"model"),
    ],
)
def test_part_headers_are_read_in_all_their_spellings(head: str, name: bytes) -> None:
    assert found(form((head, b"m1"))) == [(name, b"m1")]


@pytest.mark.parametrize(
    "head",
    [
        "Content-Type: text/plain",
        "Content-Disposition: form-data",
        'Content-Disposition: attachment; name="model"',
        "Content-Disposition: form-data; name=model; filename*=utf-8''m.wav",
        "X-Long: " + "x" * 70_000 + "\r\nContent-Disposition: form-data; name=model",
    ],
)
def test_parts_that_are_no_named_value_are_passed_over(head: str) -> None:
    assert found(form((head, b"m0"), value("model", b"m1"))) == [(b"model", b"m1")]


@pytest.mark.parametrize(
    "content", [b"--XXX", b"a\r\n--XXX\r\nb", b"\r\n", b"a\r\n-\r\n--X\r\nX", b"", b"\r\n--XX -"]
)
def test_content_that_resembles_the_boundary_belongs_to_the_value(content: bytes) -> None:
    assert found(form(value("model", content), value("n", b"1"))) == [(b"model", content), (b"n", b"1")]


def test_bare_line_feeds_a_preamble_and_padding_are_accepted() -> None:
    body = b'preamble\n--XX  \nContent-Disposition: form-data; name="model"\n\nm1\n--XX--'
    assert found(body) == [(b"model", b"m1")]


def test_a_form_that_breaks_off_yields_its_complete_parts() -> None:
    body = form(value("model", b"m1"), (WAV, b"RIFF" * 10))[:-20]
    assert found(body) == [(b"model", b"m1")]
    assert found(form(value("model", b"m1"))[:-10]) == []


@pytest.mark.parametrize("body", [b"", b"model=m1", b"--YY\r\n", b"x--XX\r\n", b"--XX"])
def test_a_body_that_does_not_begin_like_the_form_is_broken(body: bytes) -> None:
    with pytest.raises(FormError):
        found(body)


def test_rewriting_keeps_boundary_order_part_headers_and_every_other_byte() -> None:
    body = form(
        value("model", b"old"),
        (WAV, bytes(range(256))),
        value("prompt", b"model"),
        ('X-Own: 1\r\nContent-Disposition: form-data; name="model"', b"older"),
    )
    assert renamed(body, b"new-name") == form(
        value("model", b"new-name"),
        (WAV, bytes(range(256))),
        value("prompt", b"model"),
        ('X-Own: 1\r\nContent-Disposition: form-data; name="model"', b"new-name"),
    )


def test_a_parts_own_length_header_follows_its_new_value() -> None:
    head = 'Content-Length: {}\r\nContent-Disposition: form-data; name="model"'
    body = form((head.format(3), b"old"))
    assert renamed(body, b"eleven char") == form((head.format(11), b"eleven char"))


names = st.sampled_from(["model", "a b", "ünï", "stream"])
contents = st.binary(max_size=30) | st.sampled_from([b"--XX", b"\r\n--X", b"\r\n--XXy", b"\n", b"\r"])
parts = st.lists(st.tuples(names, contents, st.booleans()), max_size=6)


@pytest.mark.parametrize("before_step_end", range(-12, 12))
def test_a_delimiter_across_two_steps_of_the_search_is_found(before_step_end: int) -> None:
    overhead = len(form((WAV, b""))) - len(b"\r\n--XX--\r\n")
    body = form((WAV, b"a" * (256 * 1024 - overhead - before_step_end)), value("model", b"m1"))
    assert found(memoryview(body)) == [(b"model", b"m1")]


@given(parts, st.sampled_from([b"", b"x" * 300_000]))
def test_every_form_is_read_back_as_it_was_written(
    drawn: list[tuple[str, bytes, bool]], padding: bytes
) -> None:
    written = [
        (f'Content-Disposition: form-data; name="{name}"' + ('; filename="f"' if is_file else ""), content)
        for name, content, is_file in drawn
        # The two that are delimiters already once they stand at the start of a line.
        if content not in (b"--XX", b"--XX--")
    ]
    body = form((WAV, padding), *written)
    kept = [(head, content) for head, content in written if "filename" not in head]
    expected = [(head.split('"')[1].encode(), content) for head, content in kept]
    assert found(body) == expected
    assert found(memoryview(body)) == expected


def test_a_large_upload_is_searched_quickly_and_without_reading_it_into_memory() -> None:
    size = 50_000_000
    with tempfile.TemporaryFile() as file:
        head, tail = form((WAV, b"@"), value("model", b"m1")).split(b"@")
        file.write(head)
        file.truncate(len(head) + size)
        file.seek(0, 2)
        file.write(tail)
        file.flush()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as body:
            tracemalloc.start()
            try:
                started = time.thread_time()
                assert found(body) == [(b"model", b"m1")]
                took = time.thread_time() - started
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
    assert peak < 2_000_000
    assert took < 1
