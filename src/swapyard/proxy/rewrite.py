"""The rules that change a JSON request: model name, stripParams, setParams, setParamsByID, in this order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from swapyard.config.parameters import ParameterError, json_text, parse_path
from swapyard.errors import Fault, RequestError
from swapyard.proxy.json_document import BrokenOffError, Document
from swapyard.proxy.json_scan import Source, scan
from swapyard.proxy.splice import Edit, Spliced, splice

_MODEL = parse_path("model")


def apply_filters(
    body: Source,
    *,
    use_model_name: str | None = None,
    strip: Sequence[str] = (),
    set_params: Mapping[str, Any] | None = None,
    by_id: Mapping[str, Any] | None = None,
) -> Spliced | None:
    """The body after the rules; None when nothing changes.

    `by_id` is the mapping chosen for the requested name, not the whole setParamsByID.  The model is protected
    from all but the first rule.  The result refers to `body`, which has to stay open as long as it is used.
    Raises RequestError: INTERNAL for a parameter that cannot be applied, BAD_REQUEST when the body is no JSON
    object or breaks off where something has to be added.
    """
    if not (use_model_name or strip or set_params or by_id):
        return None
    if use_model_name and not (strip or set_params or by_id):
        # The common case, without taking the members apart.
        renamed = replace_model(body, use_model_name)
        if renamed is not None:
            return renamed
    document = _document(body)
    if use_model_name:
        with _faults("error rewriting model name in JSON"):
            document.set(_MODEL, msgspec.json.encode(use_model_name))
    for name in sorted(set(strip)):
        _strip(document, name)
    for params in (set_params or {}, by_id or {}):
        for name in sorted(params):
            _set(document, name, params[name])
    return document.spliced()


def replace_model(body: Source, model: str) -> Spliced | None:
    """The body with its first top-level model member set, every other byte kept; None when it has none."""
    level = scan(body)
    for slot in level.slots if level is not None and level.is_object else ():
        if slot.key == "model":
            return splice(body, [Edit(slot.value, slot.end, msgspec.json.encode(model))])
    return None


def _document(body: Source) -> Document:
    try:
        return Document(body)
    except ValueError as error:
        raise RequestError(Fault.BAD_REQUEST, "the request body is not a JSON object") from error


def _strip(document: Document, name: str) -> None:
    with _faults(f"error stripping parameter {name} from request"):
        path = parse_path(name)
        if path != _MODEL:
            document.strip(path)


def _set(document: Document, name: str, value: Any) -> None:
    with _faults(f"error setting parameter {name} in request"):
        path = parse_path(name)
        if path != _MODEL:
            document.set(path, json_text(value))


@contextmanager
def _faults(failure: str) -> Iterator[None]:
    """Say what failed and whose fault it is: a bad rule is the operator's, broken text the caller's."""
    try:
        yield
    except ParameterError as error:
        raise RequestError(Fault.INTERNAL, f"{failure}: {error}") from error
    except BrokenOffError as error:
        raise RequestError(Fault.BAD_REQUEST, f"{failure}: the JSON text breaks off") from error
