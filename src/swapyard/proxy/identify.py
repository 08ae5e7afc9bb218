"""Which model a request asks for and whether it wants a stream; and the same request with another model name.

Where the name stands depends on method and Content-Type (specification, §2.1):

1. GET: the query, whatever the body holds.
2. JSON: the body's top-level member, never the query.
3. Multipart: the query, then the form's value fields.
4. Anything else: the urlencoded body if it is one, then the query.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import msgspec

from swapyard.config.names import LONGEST_NAME_BYTES
from swapyard.errors import Fault, RequestError
from swapyard.proxy import multipart, query
from swapyard.proxy.json_members import first_values
from swapyard.proxy.json_scan import (
    MOST_MEMBERS,
    REFUSALS,
    Slot,
    Source,
    Walk,
    Wanted,
    first_slots,
    string_value,
)
from swapyard.proxy.rewrite import replace_model
from swapyard.proxy.splice import Spliced, Splicer
from swapyard.web.names import checked, too_long

AT_ONCE_BYTES = 256 * 1024
"""The longest JSON text that is read by the library in one go: fast, but nobody else has a turn meanwhile."""

_LONGEST_WORD_BYTES = 64
"""A form's `stream` that is longer is not the word that asks for one."""

_LONGEST_SPELLING = 6 * LONGEST_NAME_BYTES + 2
"""Bytes of JSON: no string that is longer can spell a name that is not too long."""

_TRUE_STRINGS = frozenset({"1", "t", "true"})
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_JSON_TEXT = re.compile(rb'["\[{]|-?\d|true\Z|false\Z')
_SOUGHT = Wanted(frozenset({"model", "stream"}))


class Identified(msgspec.Struct, frozen=True):
    """What a request asks for; `model` is None when it names none, else exactly what the caller wrote."""

    model: str | None
    stream: bool


@dataclass(frozen=True, slots=True)
class Renamed:
    """The parts of a request that changed with its model name; None where the original goes on as it came.

    The Content-Type never changes.
    """

    query: Spliced | None = None
    body: Spliced | None = None


class _Place(Enum):
    QUERY = auto()
    JSON = auto()
    MULTIPART = auto()
    FORM = auto()


def is_json(content_type: str) -> bool:
    """Whether a body of this Content-Type is read, and filtered, as JSON."""
    return "application/json" in content_type.lower()


def identify(method: str, content_type: str, query_string: bytes, body: Source) -> Walk[Identified]:
    """Find the model and the stream flag.  `body` is only read; `query_string` is raw, without its `?`.

    Raises RequestError (INVALID_REQUEST) for a name that is too long, or no text.
    """
    place = _place(method, content_type)
    if place is _Place.JSON:
        # Nearly every request ends here, without another walk.
        return _read_at_once(body) or (yield from _walk_json(body))
    sources: tuple[Source, ...] = (query_string,)
    if place is _Place.FORM:
        sources = (body, query_string)
    model = stream = None
    for source in sources:
        if model is None:
            model = yield from query.first_value(source, b"model", LONGEST_NAME_BYTES)
        if stream is None:
            stream = yield from query.first_value(source, b"stream", _LONGEST_WORD_BYTES)
    if place is _Place.MULTIPART:
        model, stream = yield from _form_values(content_type, body, model, stream)
    return Identified(_name_in_bytes(model), stream == b"true")


def identify_json(body: Source) -> Walk[Identified]:
    """Read the first top-level `model` and `stream`; text after them may be broken (specification, §15.2)."""
    return _read_at_once(body) or (yield from _walk_json(body))


def _read_at_once(body: Source) -> Identified | None:
    """What the library finds in a body of moderate length; None when that is too long or it refuses."""
    if len(body) > AT_ONCE_BYTES:
        return None
    try:
        model, stream = first_values(body if isinstance(body, bytes) else memoryview(body))
    except REFUSALS:
        return None
    return Identified(_name(model), _is_true(stream))


def _walk_json(body: Source) -> Walk[Identified]:
    slots, is_complete = yield from first_slots(body, _SOUGHT)
    if not is_complete and "model" not in slots:
        raise RequestError(
            Fault.BAD_REQUEST, f"the request body has more than {MOST_MEMBERS} members before its model"
        )
    return Identified(_name(_value(body, slots.get("model"))), _is_true(_value(body, slots.get("stream"))))


def query_asks_for_stream(query_string: bytes) -> Walk[bool]:
    """The stream flag where the model is named elsewhere."""
    return (yield from query.first_value(query_string, b"stream", _LONGEST_WORD_BYTES)) == b"true"


def rename(method: str, content_type: str, query_string: bytes, body: Source, new_name: str) -> Walk[Renamed]:
    """The same request for another model (specification, §2.4).

    Raises RequestError (BAD_REQUEST) when the body is not what its Content-Type says.
    """
    match _place(method, content_type):
        case _Place.QUERY:
            return Renamed(query=(yield from query.with_value(query_string, b"model", new_name)))
        case _Place.JSON:
            return Renamed(body=(yield from _rename_json(body, new_name)))
        case _Place.MULTIPART:
            renamed_query = yield from query.with_value(query_string, b"model", new_name)
            return Renamed(renamed_query, (yield from _rename_multipart(content_type, body, new_name)))
        case _Place.FORM:
            renamed_query = yield from query.with_value(query_string, b"model", new_name)
            return Renamed(renamed_query, (yield from query.with_value(body, b"model", new_name)))


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


def _form_values(
    content_type: str, body: Source, model: bytes | None, stream: bytes | None
) -> Walk[tuple[bytes | None, bytes | None]]:
    """What a form says of those two that the query has not said."""
    try:
        for field in _fields(content_type, body, b"model", b"stream"):
            if field is not None:
                if field.name == b"model" and model is None:
                    if field.end - field.start > LONGEST_NAME_BYTES:
                        raise too_long(field.end - field.start)
                    model = bytes(body[field.start : field.end])
                elif field.name == b"stream" and stream is None:
                    stream = bytes(body[field.start : min(field.end, field.start + _LONGEST_WORD_BYTES)])
            if model is not None and stream is not None:
                break
            yield
    except multipart.TooManyPartsError as error:
        if model is None:
            raise RequestError(Fault.BAD_REQUEST, f"{error} before its model") from error
    except multipart.FormError:
        pass
    return model, stream


def _fields(content_type: str, body: Source, *names: bytes) -> Iterator[multipart.Field | None]:
    return multipart.value_fields(body, multipart.boundary_of(content_type), names)


def _name_in_bytes(text: bytes | None) -> str | None:
    if text is not None and len(text) > LONGEST_NAME_BYTES:
        raise too_long(len(text))
    return text.decode("utf-8", "replace") if text else None


def _name(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise RequestError(Fault.INVALID_REQUEST, "the model's name is not a string")
    return checked(value) or None


def _is_true(value: Any) -> bool:
    """Whether a JSON value reads as true: `true`, a number other than 0, or a text that spells one."""
    if isinstance(value, str):
        return value.lower() in _TRUE_STRINGS
    return isinstance(value, int | float) and value != 0


def _value(body: Source, slot: Slot | None) -> Any:
    """The value of a member; None for null and for what is no JSON, and an empty list for any structure.

    Raises RequestError (INVALID_REQUEST) for a string that is too long for any name.
    """
    if slot is None:
        return None
    length = slot.end - slot.value
    text = bytes(body[slot.value : min(slot.end, slot.value + _LONGEST_SPELLING)])
    if not _JSON_TEXT.match(text):
        return None
    if text[:1] == b'"':
        if length > _LONGEST_SPELLING:
            if slot.key == "stream":
                return None
            raise too_long(length - 2)
        return string_value(text)
    if text in (b"true", b"false"):
        return text == b"true"
    return float(text) if _NUMBER.fullmatch(text) and length == len(text) else []


def _rename_json(body: Source, new_name: str) -> Walk[Spliced]:
    renamed = yield from replace_model(body, new_name)
    if renamed is None:
        raise RequestError(Fault.BAD_REQUEST, "could not rewrite model in JSON body: it has no model member")
    return renamed


def _rename_multipart(content_type: str, body: Source, new_name: str) -> Walk[Spliced | None]:
    splicer, value = Splicer(body), new_name.encode()
    try:
        for field in _fields(content_type, body, b"model"):
            for edit in multipart.edits(field, value) if field is not None else ():
                splicer.edit(edit)
            yield
    except multipart.FormError as error:
        raise RequestError(Fault.BAD_REQUEST, f"could not parse multipart form: {error}") from error
    return None if splicer.is_unused else splicer.spliced()
