"""Which model a request asks for and whether it wants a stream; and the same request with another model name.

Where the name stands depends on method and Content-Type (specification, §2.1):

1. GET: the query, whatever the body holds.
2. JSON: the body's top-level member, never the query.
3. Multipart: the query, then the form's value fields.
4. Anything else: the urlencoded body if it is one, then the query.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

import msgspec

from swapyard.errors import Fault, RequestError
from swapyard.proxy import multipart, query
from swapyard.proxy.json_scan import Source, first_members, string_value
from swapyard.proxy.rewrite import replace_model
from swapyard.proxy.splice import Spliced, splice

LONGEST_NAME = 64 * 1024
"""Bytes; a form field that is longer is no model name, and is not read into memory."""

_TRUE_STRINGS = frozenset({"1", "t", "true"})
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_JSON_TEXT = re.compile(rb'["\[{]|-?\d|true\Z|false\Z')


class Identified(msgspec.Struct, frozen=True):
    """What a request asks for; `model` is None when it names none, else exactly what the caller wrote."""

    model: str | None
    stream: bool


@dataclass(frozen=True, slots=True)
class Renamed:
    """The parts of a request that changed with its model name; None where the original goes on as it came.

    The Content-Type never changes.
    """

    query: bytes | None = None
    body: Spliced | None = None


class _Place(Enum):
    QUERY = auto()
    JSON = auto()
    MULTIPART = auto()
    FORM = auto()


def is_json(content_type: str) -> bool:
    """Whether a body of this Content-Type is read, and filtered, as JSON."""
    return "application/json" in content_type.lower()


def identify(method: str, content_type: str, query_string: bytes, body: Source) -> Identified:
    """Find the model and the stream flag.  `body` is only read; `query_string` is raw, without its `?`.

    Raises RequestError (BAD_REQUEST) for a query or form that nobody would wait for while it is read.
    """
    match _place(method, content_type):
        case _Place.JSON:
            return identify_json(body)
        case _Place.QUERY:
            return _from_pairs(query.parse_query(query_string))
        case _Place.MULTIPART:
            return _from_pairs(query.parse_query(query_string) + _form_pairs(content_type, body))
        case _Place.FORM:
            return _from_pairs(query.parse_pairs(bytes(body)) + query.parse_query(query_string))


def identify_json(body: Source) -> Identified:
    """Read the first top-level `model` and `stream`; text after them may be broken (specification, §15.2)."""
    members = first_members(body, "model", "stream")
    return Identified(_name(members.get("model")), _is_true(members.get("stream")))


def rename(method: str, content_type: str, query_string: bytes, body: Source, new_name: str) -> Renamed:
    """The same request for another model (specification, §2.4).

    Raises RequestError (BAD_REQUEST) when the body is not what its Content-Type says.
    """
    match _place(method, content_type):
        case _Place.QUERY:
            return Renamed(query=query.with_value(query.parse_pairs(query_string), b"model", new_name))
        case _Place.JSON:
            return Renamed(body=_rename_json(body, new_name))
        case _Place.MULTIPART:
            return Renamed(
                _rename_query(query_string, new_name), _rename_multipart(content_type, body, new_name)
            )
        case _Place.FORM:
            return Renamed(_rename_query(query_string, new_name), _rename_form(body, new_name))


def _place(method: str, content_type: str) -> _Place:
    if method == "GET":
        return _Place.QUERY
    if is_json(content_type):
        return _Place.JSON
    lowered = content_type.lower()
    if "multipart/form-data" in lowered:
        return _Place.MULTIPART
    is_form = lowered.partition(";")[0].strip() == "application/x-www-form-urlencoded"
    return _Place.FORM if is_form else _Place.QUERY


def _from_pairs(pairs: list[query.Pair]) -> Identified:
    return Identified(
        query.first_value(pairs, b"model") or None, query.first_value(pairs, b"stream") == "true"
    )


def _form_pairs(content_type: str, body: Source) -> list[query.Pair]:
    try:
        return [
            (field.name, bytes(body[field.start : field.end]))
            for field in multipart.value_fields(body, multipart.boundary_of(content_type))
            if field.name in (b"model", b"stream") and field.end - field.start <= LONGEST_NAME
        ]
    except multipart.FormError:
        return []


def _name(text: bytes | None) -> str | None:
    if text is None or not _JSON_TEXT.match(text):
        return None
    return (string_value(text) if text[:1] == b'"' else text.decode("utf-8", "replace")) or None


def _is_true(text: bytes | None) -> bool:
    """Whether a JSON value reads as true: `true`, a number other than 0, or a text that spells one."""
    if text is None:
        return False
    if text[:1] == b'"':
        return string_value(text).lower() in _TRUE_STRINGS
    if not _NUMBER.fullmatch(text):
        return text == b"true"
    return float(text) != 0


def _rename_json(body: Source, new_name: str) -> Spliced:
    renamed = replace_model(body, new_name)
    if renamed is None:
        raise RequestError(Fault.BAD_REQUEST, "could not rewrite model in JSON body: it has no model member")
    return renamed


def _rename_query(query_string: bytes, new_name: str) -> bytes | None:
    """Used where the body may hold the name: the query changes only when it names a model as well."""
    pairs = query.parse_pairs(query_string)
    if query.first_value(pairs, b"model") is None:
        return None
    return query.with_value(pairs, b"model", new_name)


def _rename_form(body: Source, new_name: str) -> Spliced | None:
    changed = _rename_query(bytes(body), new_name)
    return None if changed is None else Spliced.of((changed,))


def _rename_multipart(content_type: str, body: Source, new_name: str) -> Spliced | None:
    try:
        boundary = multipart.boundary_of(content_type)
        fields = [field for field in multipart.value_fields(body, boundary) if field.name == b"model"]
    except multipart.FormError as error:
        raise RequestError(Fault.BAD_REQUEST, f"could not parse multipart form: {error}") from error
    return splice(body, multipart.replace_fields(fields, new_name.encode())) if fields else None
