"""The JSON filters, spliced into the client's bytes."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swapyard.errors import Fault, RequestError
from swapyard.proxy import rewrite
from swapyard.proxy.slices import finished
from swapyard.proxy.splice import Spliced


def apply_filters(body: bytes, **filters: Any) -> Spliced | None:
    return finished(rewrite.apply_filters(body, **filters))


def filtered(body: bytes, **filters: Any) -> bytes:
    spliced = apply_filters(body, **filters)
    if spliced is None:
        return body
    assert spliced.length == len(bytes(spliced))
    return bytes(spliced)


def test_all_filters_together_touch_only_what_they_name() -> None:
    body = (
        rb'{"z": 1.0, "temperature" : 0.7, "model" : "m", "a": {"b": 1, "c": 2}, "big": 9, '
        rb'"u":"\u00e9\/x", "opts": {"k":1}}'
    )
    assert filtered(
        body,
        use_model_name="real-name",
        strip=("a.b", "model", "temperature"),
        set_params={
            "f": 1.0,
            "e": 1.5e-9,
            "big": 1234567890123,
            "arr": [1, {"z": 1, "a": 2}],
            "opts.deep.x": 3,
        },
    ) == (
        rb'{"z": 1.0, "model" : "real-name", "a": { "c": 2}, "big": 1234567890123, '
        rb'"u":"\u00e9\/x", "opts": {"k":1,"deep":{"x":3}},"arr":[1,{"a":2,"z":1}],"e":0.0000000015,"f":1}'
    )


def test_parameters_by_id_come_last_and_win() -> None:
    body = b'{ "model":"qwen-coder:think", "top_k":40, "seed":9007199254740993, "temperature":1.0 }'
    assert filtered(
        body,
        use_model_name="Qwen/Coder-32B",
        strip=("top_k", "user"),
        set_params={"temperature": 0.2, "chat_template_kwargs.enable_thinking": False},
        by_id={"chat_template_kwargs.enable_thinking": True},
    ) == (
        b'{ "model":"Qwen/Coder-32B", "seed":9007199254740993, "temperature":0.2 '
        b',"chat_template_kwargs":{"enable_thinking":true}}'
    )


@pytest.mark.parametrize(
    ("body", "path", "expected"),
    [
        (b"{}", "x", b'{"x":7}'),
        (b"{ }", "x", b'{ "x":7}'),
        (b'{"x":1,"x":2}', "x", b'{"x":7,"x":2}'),
        (b'{"\\u0078":1}', "x", b'{"\\u0078":7}'),
        (b'{"a":5}', "a.b", b'{"a":{"b":7}}'),
        (b'{"a":"x{y"}', "a.b", b'{"a":{"b":7}}'),
        (b'{"a":null}', "a.b.c", b'{"a":{"b":{"c":7}}}'),
        (b'{"a":5}', "a.1", b'{"a":[null,7]}'),
        (b"{}", "a.b.c", b'{"a":{"b":{"c":7}}}'),
        (b"{}", "a.2", b'{"a":[null,null,7]}'),
        (b"{}", "a.-1", b'{"a":[7]}'),
        (b"{}", "a.1.b", b'{"a":[null,{"b":7}]}'),
        (b'{"a":[1, 2]}', "a.0", b'{"a":[7, 2]}'),
        (b'{"a":[1, 2 ]}', "a.3", b'{"a":[1, 2 ,null,7]}'),
        (b'{"a":[1]}', "a.-1", b'{"a":[1,7]}'),
        (b'{"a":[]}', "a.-1", b'{"a":[7]}'),
        (b'{"a":[{"b":1}]}', "a.0.b", b'{"a":[{"b":7}]}'),
        (b'{"a":{}}', "a.0", b'{"a":{"0":7}}'),
        (b'{"a":{"0":1}}', "a.0", b'{"a":{"0":7}}'),
        (b"{}", r"a\.b", b'{"a.b":7}'),
        (b"{}", "a.:5", b'{"a":{"5":7}}'),
        (b"{}", r"\*", b'{"*":7}'),
        (b"{}", "a:b", b'{"a:b":7}'),
        (b'{"a":1} trailing', "a", b'{"a":7} trailing'),
        (b'{"a":1,"cut":"of', "a", b'{"a":7,"cut":"of'),
        (b'{"a":1,}', "b", b'{"a":1,"b":7}'),
    ],
)
def test_setting_follows_the_path(body: bytes, path: str, expected: bytes) -> None:
    assert filtered(body, set_params={path: 7}) == expected


@pytest.mark.parametrize(
    ("body", "path", "expected"),
    [
        (b'{"x":1}', "x", b"{}"),
        (b'{"x":1,"y":2}', "x", b'{"y":2}'),
        (b'{"y":2,"x":1}', "x", b'{"y":2}'),
        (b'{"x":1,"x":2}', "x", b'{"x":2}'),
        (b'{"a":{"b":1,"c":2}}', "a.b", b'{"a":{"c":2}}'),
        (b'{"a":{"b":1}}', "a.b", b'{"a":{}}'),
        (b'{"a":[1,2,3]}', "a.1", b'{"a":[1,3]}'),
        (b'{"a":[1,2,3]}', "a.-1", b'{"a":[1,2]}'),
    ],
)
def test_stripping_removes_a_member_and_one_comma(body: bytes, path: str, expected: bytes) -> None:
    assert filtered(body, strip=[path]) == expected


@pytest.mark.parametrize("path", ["absent", "a.absent", "b.x", "model", "c.x", "c.9", "c.:0"])
def test_stripping_what_is_not_there_leaves_the_original_bytes(path: str) -> None:
    body = b'{"model":"m", "a": { } ,"b":5,"c":[1]}'
    assert apply_filters(body, strip=[path]) is None


def test_the_model_is_protected_from_being_set_or_stripped() -> None:
    assert (
        apply_filters(b'{"model":"m"}', strip=["model"], set_params={"model": "x"}, by_id={"model": "y"})
        is None
    )


def test_no_filter_means_no_work_and_no_change() -> None:
    assert apply_filters(b"not json") is None


def test_a_later_parameter_reaches_into_what_an_earlier_one_set() -> None:
    assert (
        filtered(b'{"o":1}', set_params={"o": {"a": 1, "b": [1]}}, by_id={"o.a": 2, "o.b.-1": 3, "o.c": 4})
        == b'{"o":{"a":2,"b":[1,3],"c":4}}'
    )
    assert filtered(b"{}", set_params={"n.a": 1, "n.b": 2}) == b'{"n":{"a":1,"b":2}}'


def test_a_member_stripped_and_then_set_stands_at_the_end() -> None:
    assert filtered(b'{"a":1,"b":2}', strip=["a"], set_params={"a": 3}) == b'{"b":2,"a":3}'


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"strip": ["a.*"]}, r"error stripping parameter a\.\* from request"),
        ({"strip": ["#"]}, "error stripping parameter # from request"),
        ({"set_params": {"a?": 1}}, r"error setting parameter a\? in request"),
        ({"set_params": {"list.x": 1}}, r"error setting parameter list\.x in request.*'x'"),
        ({"by_id": {"list.:0": 1}}, r"error setting parameter list\.:0 in request"),
        ({"set_params": {"f": float("inf")}}, "error setting parameter f in request"),
    ],
)
def test_a_parameter_that_cannot_be_applied_is_named(filters: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        apply_filters(b'{"model":"m","list":[1]}', **filters)
    assert caught.value.fault is Fault.INTERNAL


@pytest.mark.parametrize("body", [b'{"a":1', b"[1]", b"text", b""])
def test_a_body_that_cannot_take_a_new_member_is_the_callers_fault(body: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        apply_filters(body, set_params={"b": 1})
    assert caught.value.fault is Fault.BAD_REQUEST


def test_use_model_name_appends_where_there_was_no_model() -> None:
    assert filtered(b'{"a":1}', use_model_name="real") == b'{"a":1,"model":"real"}'


def test_a_long_body_is_referred_to_and_not_copied() -> None:
    body = b'{"image":"' + b"A" * 3_000_000 + b'","model":"m","top_k":1}'
    spliced = apply_filters(body, use_model_name="n", strip=["top_k"], set_params={"x": 1})
    assert spliced is not None
    first = spliced.segments[0]
    assert isinstance(first, memoryview)
    assert first.obj is body
    assert first.nbytes > 3_000_000
    assert finished(rewrite.replace_model(b'{"a":1}', "n")) is None


# Names that need no escaping in a path, and few of them, so that paths meet what is there.
names = st.sampled_from(["a", "b", "c", "0", "1", "model"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(-1e9, 1e9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=10,
)
paths = st.lists(names | st.just("-1"), min_size=1, max_size=3).map(".".join)


class NotPossibleError(Exception):
    """The model of the filters cannot set this path."""


def numeric(step: str) -> bool:
    return step.isdigit() or step == "-1"


def set_in(parent: Any, steps: list[str], value: Any) -> Any:
    """What setting a path means, on decoded JSON."""
    if not steps:
        return copy.deepcopy(value)
    step, rest = steps[0], steps[1:]
    if not isinstance(parent, (dict, list)):
        parent = [] if numeric(step) else {}
    if isinstance(parent, dict):
        parent[step] = set_in(parent.get(step), rest, value)
        return parent
    if not numeric(step):
        raise NotPossibleError
    index = len(parent) if step == "-1" else int(step)
    parent.extend([None] * (index + 1 - len(parent)))
    parent[index] = set_in(parent[index], rest, value)
    return parent


def strip_from(parent: Any, steps: list[str]) -> None:
    """What stripping a path means, on decoded JSON."""
    step, rest = steps[0], steps[1:]
    key: Any = step
    if isinstance(parent, list):
        key = int(step) if numeric(step) and int(step) < len(parent) and parent else None
    elif not isinstance(parent, dict) or step not in parent:
        key = None
    if key is None:
        return
    if rest:
        strip_from(parent[key], rest)
    else:
        del parent[key]


@given(
    st.dictionaries(names, json_values, max_size=5),
    st.lists(paths, max_size=3),
    st.dictionaries(paths, json_values, max_size=3),
    st.dictionaries(paths, json_values, max_size=2),
    st.sampled_from([None, 2]),
)
def test_splicing_means_what_changing_the_decoded_body_means(
    body: dict[str, Any],
    strip: list[str],
    set_params: dict[str, Any],
    by_id: dict[str, Any],
    indent: int | None,
) -> None:
    expected: Any = copy.deepcopy(body)
    expected["model"] = "name"
    possible = True
    try:
        for path in sorted(set(strip) - {"model"}):
            strip_from(expected, path.split("."))
        for params in (set_params, by_id):
            for path in sorted(set(params) - {"model"}):
                set_in(expected, path.split("."), params[path])
    except NotPossibleError:
        possible = False
    text = json.dumps(body, indent=indent).encode()
    try:
        result = filtered(text, use_model_name="name", strip=strip, set_params=set_params, by_id=by_id)
    except RequestError:
        assert not possible
        return
    assert possible
    assert json.loads(result) == expected


blanks = st.text(" \n\t", max_size=3)
members = st.tuples(st.text("abcd", min_size=1, max_size=2), json_values, blanks, blanks)


@given(st.lists(members, min_size=1, max_size=5, unique_by=lambda member: member[0]), st.data())
def test_members_that_no_filter_names_keep_their_bytes(
    drawn: list[tuple[str, Any, str, str]], data: st.DataObject
) -> None:
    chosen = data.draw(st.integers(0, len(drawn) - 1))

    def text(parts: list[str]) -> bytes:
        return ("{" + ",".join(parts) + "} rest").encode()

    heads = [f'{before}"{key}"{after}:{before}' for key, _, before, after in drawn]
    values = [json.dumps(value) for _, value, _, _ in drawn]
    tails = [after for _, _, _, after in drawn]
    parts = [head + value + tail for head, value, tail in zip(heads, values, tails, strict=True)]
    changed = [*parts]
    changed[chosen] = heads[chosen] + "123456" + tails[chosen]
    name = drawn[chosen][0]
    assert filtered(text(parts), set_params={name: 123456}) == text(changed)
    assert filtered(text(parts), strip=[name]) == text(parts[:chosen] + parts[chosen + 1 :])
