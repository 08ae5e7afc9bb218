"""Which model a request asks for, wherever it says so."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swapyard.config.names import LONGEST_NAME_BYTES
from swapyard.errors import Fault, RequestError
from swapyard.proxy import identify as identifying
from swapyard.proxy.identify import Identified, Renamed
from swapyard.proxy.json_scan import Source
from swapyard.proxy.slices import finished

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=XX"


def identify(method: str, content_type: str, query: bytes, body: Source) -> Identified:
    return finished(identifying.identify(method, content_type, query, body))


def identify_json(body: Source) -> Identified:
    return finished(identifying.identify_json(body))


def rename(method: str, content_type: str, query: bytes, body: Source, name: str) -> Renamed:
    return finished(identifying.rename(method, content_type, query, body, name))


def form(*fields: tuple[str, str]) -> bytes:
    parts = [f'--XX\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n' for n, v in fields]
    return ("".join(parts) + "--XX--\r\n").encode()


@pytest.mark.parametrize(
    ("body", "model"),
    [
        (b'{"model":"m1"', "m1"),
        (b'{"model":"m1" garbage', "m1"),
        (b'{"model":"m1"} and more', "m1"),
        (b'\xef\xbb\xbf{"model":"m1"}', "m1"),
        (b'{"messages":[{"content":"}\\""}],"model":"m1","x":', "m1"),
        (b'{"\\u006dodel":"m1"}', "m1"),
        (b'{"model":"m\\u0031"}', "m1"),
        (b'{"model":"m1","model":"m2"}', "m1"),
        (b'{"model":"m1","\\u006dodel":"m2"}', "m1"),
        (b'{"model":" M1 "}', " M1 "),
        (b'{"model":"\\ud800"}', "\ufffd"),
    ],
)
def test_the_first_top_level_member_names_the_model_even_in_damaged_json(body: bytes, model: str) -> None:
    assert identify("POST", JSON, b"", body).model == model


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        b"",
        b"{}",
        b'{"model":""}',
        b'{"model":null}',
        b"[1]",
        b'[{"model":"m1"}]',
        b'{"Model":"m1"}',
        b'{"a":{"model":"m1"}}',
        b'{"a":{"model":"m1"}',
        b'{"a":"\\"model\\":\\"m1\\""} x',
        b'{"model":"m1',
        b'{"model":m1}',
        b"\x1f\x8b\x08\x00compressed",
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_json_without_a_usable_top_level_model_names_none(body: bytes) -> None:
    assert identify("POST", JSON, b"model=m1", body).model is None


@pytest.mark.parametrize(
    ("text", "stream"),
    [
        ("true", True),
        ("1", True),
        ("-0.5", True),
        ('"true"', True),
        ('"TRUE"', True),
        ('"1"', True),
        ('"t"', True),
        ("false", False),
        ("0", False),
        ("0.0", False),
        ("null", False),
        ("{}", False),
        ("[1]", False),
        ('"yes"', False),
        ('"false"', False),
    ],
)
def test_the_json_stream_member_is_read_as_the_reference_reads_booleans(text: str, stream: bool) -> None:
    assert identify_json(f'{{"stream":{text},"model":"m"}}'.encode()) == Identified("m", stream)


def test_among_two_stream_members_the_first_counts() -> None:
    assert not identify_json(b'{"model":"m","stream":false,"stream":true}').stream


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "APPLICATION/JSON"])
def test_json_is_recognised_in_any_case_and_with_parameters(content_type: str) -> None:
    assert identify("POST", content_type, b"", b'{"model":"m1"}').model == "m1"


@pytest.mark.parametrize(
    ("content_type", "query", "body", "model"),
    [
        ("text/plain", b"model=m1", b"hello", "m1"),
        ("", b"model=m1", b"", "m1"),
        ("application/vnd.api+json", b"model=m1", b'{"model":"m2"}', "m1"),
        (FORM, b"model=m1", b"model=m2", "m2"),
        (FORM, b"model=m1", b"a=b", "m1"),
        (FORM, b"model=m1", b"model=", None),
        (FORM, b"", b"model=org%2Fm+1", "org/m 1"),
        ("text/plain", b"", b"model=m1", None),
        (MULTIPART, b"model=m2", form(("model", "m1")), "m2"),
        (MULTIPART, b"", form(("model", "m1"), ("model", "m2")), "m1"),
        (MULTIPART, b"", form(("prompt", "p")), None),
        (MULTIPART, b"", b"model=m1", None),
        ("multipart/form-data", b"", form(("model", "m1")), None),
        ("multipart/form-data; boundary=YY", b"", form(("model", "m1")), None),
    ],
)
def test_forms_and_queries_have_their_order_of_precedence(
    content_type: str, query: bytes, body: bytes, model: str | None
) -> None:
    assert identify("POST", content_type, query, body).model == model


@pytest.mark.parametrize(
    ("query", "model"),
    [
        (b"model=m1&model=m2", "m1"),
        (b"a=1;model=m1", None),
        (b"model=%zz&model=m2", "m2"),
        (b"mod%65l=org%2Fm", "org/m"),
        (b"", None),
    ],
)
def test_a_get_takes_the_first_model_of_its_query(query: bytes, model: str | None) -> None:
    assert identify("GET", JSON, query, b'{"model":"body"}').model == model


def test_head_is_read_like_a_post_not_like_a_get() -> None:
    assert identify("HEAD", JSON, b"model=m1", b"").model is None
    assert identify("HEAD", "", b"model=m1", b"").model == "m1"


def in_json(name: str) -> tuple[str, str, bytes, bytes]:
    return "POST", JSON, b"", json.dumps({"model": name}, ensure_ascii=False).encode()


def in_escaped_json(name: str) -> tuple[str, str, bytes, bytes]:
    escaped = "".join(f"\\u{ord(character):04x}" for character in name)
    return "POST", JSON, b"", f'{{"model":"{escaped}"}}'.encode()


def in_damaged_json(name: str) -> tuple[str, str, bytes, bytes]:
    method, content_type, query, body = in_json(name)
    return method, content_type, query, body + b"x"


def in_a_form(name: str) -> tuple[str, str, bytes, bytes]:
    return "POST", MULTIPART, b"", form(("model", name))


def in_an_urlencoded_body(name: str) -> tuple[str, str, bytes, bytes]:
    return "POST", FORM, b"", b"x=1&model=" + quote(name).encode()


def in_a_query(name: str) -> tuple[str, str, bytes, bytes]:
    return "GET", "", b"model=" + quote(name).encode() + b"&x=1", b""


PLACES = [in_json, in_escaped_json, in_damaged_json, in_a_form, in_an_urlencoded_body, in_a_query]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("letter", ["m", "é"])
@pytest.mark.parametrize("times", [1, 100, 10_000])
def test_a_name_has_at_most_512_bytes_issue_11(
    place: Callable[[str], tuple[str, str, bytes, bytes]], letter: str, times: int
) -> None:
    longest = letter * (LONGEST_NAME_BYTES // len(letter.encode()))
    assert identify(*place(longest)).model == longest
    with pytest.raises(RequestError, match="the longest possible has 512") as refused:
        identify(*place(longest + letter * times))
    assert refused.value.fault is Fault.INVALID_REQUEST
    assert letter * 5 not in refused.value.message


@pytest.mark.parametrize("rubbish", [b"", b"x"])
@pytest.mark.parametrize("value", [b"123", b"-1.5e3", b"true", b"false", b'["m1"]', b'{"a":1}', b"[]"])
def test_a_name_that_is_no_string_is_invalid_issue_11(value: bytes, rubbish: bytes) -> None:
    with pytest.raises(RequestError, match="is not a string") as refused:
        identify_json(b'{"model":' + value + b"}" + rubbish)
    assert refused.value.fault is Fault.INVALID_REQUEST


@pytest.mark.parametrize("first", [b"null", b'""'])
def test_the_first_model_counts_even_when_it_names_none(first: bytes) -> None:
    assert identify_json(b'{"model":' + first + b',"model":"m"}').model is None


def test_the_model_is_found_behind_however_many_members_that_are_plainly_written_issue_11() -> None:
    for member in (b'"a":1,', b'"a":"x" ', b'"a":[{"b":[]}] , ', b'"a":,'):
        assert identify_json(b"{" + member * 200_000 + b'"model":"m"}x').model == "m"


def test_a_body_with_too_many_odd_members_before_its_model_is_refused_issue_11() -> None:
    with pytest.raises(RequestError, match="more than 100000 members before its model") as refused:
        identify_json(b"{" + b'"\\u0061":1,' * 100_001 + b'"model":"m"}')
    assert refused.value.fault is Fault.BAD_REQUEST
    assert identify_json(b'{"model":"m",' + b'"\\u0061":1,' * 100_001 + b'"stream":true}').model == "m"


def test_a_form_with_too_many_parts_before_its_model_is_refused_issue_11() -> None:
    part = b"--XX\n\n\n"
    with pytest.raises(RequestError, match="more than 100000 parts before its model") as refused:
        identify("POST", MULTIPART, b"", part * 100_001 + form(("model", "m")))
    assert refused.value.fault is Fault.BAD_REQUEST
    assert identify("POST", MULTIPART, b"", part * 99_999 + form(("model", "m"))).model == "m"
    assert identify("POST", MULTIPART, b"model=m", part * 100_001).model == "m"


@pytest.mark.parametrize("value", [b"true", b"1", b"True"])
def test_outside_json_only_the_word_true_asks_for_a_stream(value: bytes) -> None:
    query = b"model=m&stream=" + value
    assert identify("GET", "", query, b"").stream is (value == b"true")
    assert identify("POST", FORM, b"", query).stream is (value == b"true")
    assert identify("POST", MULTIPART, b"", form(("stream", value.decode()))).stream is (value == b"true")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
keys = st.sampled_from(["model", "stream", "Model", "a"]) | st.text(max_size=8)


@given(st.dictionaries(keys, json_values, max_size=6), st.booleans(), st.sampled_from([None, 1]))
def test_valid_json_is_read_as_a_full_parser_reads_it(
    members: dict[str, object], ascii_only: bool, indent: int | None
) -> None:
    text = json.dumps(members, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "replace")
    parsed = json.loads(text)
    if not isinstance(parsed.get("model"), str | None):
        with pytest.raises(RequestError, match="is not a string"):
            identify_json(text)
        return
    found = identify_json(text)
    if parsed.get("model") is None:
        assert found.model is None
    else:
        assert found.model == (
            parsed["model"].encode("utf-16", "surrogatepass").decode("utf-16", "replace") or None
        )
    if isinstance(parsed.get("stream"), bool):
        assert found.stream is parsed["stream"]


@given(st.dictionaries(keys, json_values, max_size=6), st.integers(0, 200))
def test_text_cut_off_anywhere_never_names_another_model(members: dict[str, object], cut: int) -> None:
    whole = json.dumps({**members, "model": "the-model"}).encode()
    assert identify_json(whole[:cut]).model in (None, identify_json(whole).model)


def test_ten_megabytes_of_images_are_looked_through_in_a_few_milliseconds() -> None:
    image = "data:image/png;base64," + "A" * 5_000_000
    content = [{"type": "image_url", "image_url": {"url": image}} for _ in range(2)]
    body = json.dumps({"messages": [{"role": "user", "content": content}], "model": "m"}).encode()
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        assert identify_json(body).model == "m"
        best = min(best, time.perf_counter() - started)
    # Measured: 2 ms; a full parse takes twenty times as long.
    assert best < 0.02


def test_renaming_json_replaces_only_the_first_model_and_keeps_every_other_byte() -> None:
    body = b'{"z": 1e400, "model" : "old", "model":"old", "u":"\\u00e9\\/"} trailing'
    renamed = rename("POST", JSON, b"model=old", body, 'new "one"')
    assert renamed.query is None
    assert renamed.body is not None
    assert bytes(renamed.body) == body.replace(b'"old"', b'"new \\"one\\""', 1)
    assert renamed.body.length == len(bytes(renamed.body))


def test_renaming_a_get_leaves_one_model_and_every_other_pair_as_it_is() -> None:
    renamed = rename("GET", "", b"z=1&model=old&a=%2f&model=older&a=2", b"", "org/new")
    assert renamed.query is not None and bytes(renamed.query) == b"z=1&model=org%2Fnew&a=%2f&a=2"
    assert renamed.body is None


def test_renaming_a_urlencoded_body_sets_the_model_in_it() -> None:
    renamed = rename("POST", FORM, b"q=1", b"prompt=a+b&model=old", "new")
    assert renamed.query is None
    assert renamed.body is not None
    assert bytes(renamed.body) == b"prompt=a+b&model=new"
    assert identify("POST", FORM, b"q=1", bytes(renamed.body)).model == "new"


def test_renaming_leaves_a_body_that_holds_no_name_alone() -> None:
    renamed = rename("POST", "text/plain", b"model=old", b"model=old", "new")
    assert renamed.query is not None and bytes(renamed.query) == b"model=new"
    assert renamed.body is None


def test_renaming_a_multipart_form_changes_query_and_every_model_field() -> None:
    body = form(("model", "old"), ("prompt", "model"), ("model", "older"))
    renamed = rename("POST", MULTIPART, b"model=old", body, "new")
    assert renamed.query is not None and bytes(renamed.query) == b"model=new"
    assert renamed.body is not None
    assert bytes(renamed.body) == form(("model", "new"), ("prompt", "model"), ("model", "new"))


def test_renaming_a_broken_form_is_the_callers_fault() -> None:
    with pytest.raises(RequestError, match="could not parse multipart form") as caught:
        rename("POST", "multipart/form-data", b"", b"", "new")
    assert caught.value.fault is Fault.BAD_REQUEST
