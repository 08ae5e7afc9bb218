"""The rules that change a JSON request: model name, stripParams, setParams, setParamsByID, in this order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec

from swapyard.config.parameters import ParameterError, Step, json_text, parse_path
from swapyard.errors import Fault, RequestError
from swapyard.proxy.json_document import BrokenOffError, Document
from swapyard.proxy.json_scan import Source, Walk, Wanted, first_slots
from swapyard.proxy.splice import Edit, Spliced, splice

_MODEL = parse_path("model")
_MODEL_ALONE = Wanted(frozenset({"model"}))


class _Rule(NamedTuple):
    """One change; `value` is None to strip, and `failure` what is said when it cannot be made."""

    path: tuple[Step, ...]
    value: bytes | None
    failure: str


def apply_filters(
    body: Source,
    *,
    use_model_name: str | None = None,
    strip: Sequence[str] = (),
    set_params: Mapping[str, Any] | None = None,
    by_id: Mapping[str, Any] | None = None,
) -> Walk[Spliced | None]:
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
        renamed = yield from replace_model(body, use_model_name)
        if renamed is not None:
            return renamed
    rules: list[_Rule] = []
    if use_model_name:
        name = msgspec.json.encode(use_model_name)
        rules.append(_Rule(_MODEL, name, "error rewriting model name in JSON"))
    rules += _rules(sorted(set(strip)), lambda _: None, "error stripping parameter {} from request")
    for params in (set_params or {}, by_id or {}):
        rules += _rules(sorted(params), _text_in(params), "error setting parameter {} in request")
    if not rules:
        return None
    try:
        document = yield from Document.read(body, [rule.path for rule in rules])
    except ValueError as error:
        raise RequestError(Fault.BAD_REQUEST, "the request body is not a JSON object") from error
    for rule in rules:
        with _faults(rule.failure):
            if rule.value is None:
                yield from document.strip(rule.path)
            else:
                yield from document.set(rule.path, rule.value)
    return document.spliced()


def replace_model(body: Source, model: str) -> Walk[Spliced | None]:
    """The body with its first top-level model member set, every other byte kept; None when it has none."""
    slot = (yield from first_slots(body, _MODEL_ALONE)).slots.get("model")
    return None if slot is None else splice(body, [Edit(slot.value, slot.end, msgspec.json.encode(model))])


def _rules(names: Sequence[str], text: Callable[[str], bytes | None], failure: str) -> Iterator[_Rule]:
    for name in names:
        said = failure.format(name)
        with _faults(said):
            path = parse_path(name)
            if path != _MODEL:
                yield _Rule(path, text(name), said)


def _text_in(params: Mapping[str, Any]) -> Callable[[str], bytes]:
    return lambda name: json_text(params[name])


@contextmanager
def _faults(failure: str) -> Iterator[None]:
    """Say what failed and whose fault it is: a bad rule is the operator's, broken text the caller's."""
    try:
        yield
    except ParameterError as error:
        raise RequestError(Fault.INTERNAL, f"{failure}: {error}") from error
    except BrokenOffError as error:
        raise RequestError(Fault.BAD_REQUEST, f"{failure}: the JSON text breaks off") from error
