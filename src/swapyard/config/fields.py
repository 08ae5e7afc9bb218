"""The types of configuration keys: how a scalar of the file becomes text, a number, a switch or a duration.

Each type also takes the plain Python value, so that a Config can be written down in code.
Whatever does not fit raises a PydanticCustomError whose message is the rule that is broken.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError, PydanticOmit, PydanticUseDefault

from swapyard.config.scalars import Kind, render
from swapyard.config.tree import Scalar

REPORTED = "reported"
"""Error type of a value for which a problem was reported before."""

_TRUE = {"y", "Y", "yes", "Yes", "YES", "on", "On", "ON"}
_FALSE = {"n", "N", "no", "No", "NO", "off", "Off", "OFF"}
_NANOSECONDS = {"ns": 1, "us": 1e3, "µs": 1e3, "μs": 1e3, "ms": 1e6, "s": 1e9, "m": 60e9, "h": 3600e9}
_DURATION = re.compile(r"[-+]?((\d++\.?\d*+|\.\d++)(ns|us|µs|μs|ms|s|m|h))+|[-+]?0")
_PART = re.compile(r"(\d++\.?\d*+|\.\d++)(ns|us|µs|μs|ms|s|m|h)")
_MACRO = {"type": "string", "pattern": r"\$\{"}


def refuse(rule: str) -> PydanticCustomError:
    """An error whose message is `rule` as it stands."""
    return PydanticCustomError("rule", "{rule}", {"rule": rule})


def shown(value: object) -> str:
    """A value as an error message shows it, cut when it is long."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if not isinstance(value, Scalar):
        return repr(value)
    if value.is_null:
        return "nothing"
    text = value.text
    cut = text if len(text) <= 40 else text[:37] + "..."
    return f'{value.kind} "{cut}"'


def mismatch(wanted: str, value: object, type_name: str) -> PydanticCustomError:
    """The error for a value of the wrong type; `type_name` is the word users of the reference look for."""
    return refuse(f"expected {wanted}, got {shown(value)} (cannot unmarshal it into {type_name})")


def _scalar(value: object) -> object:
    """Stop at a value that was reported, and take the default for null."""
    if isinstance(value, Scalar):
        if value.is_reported:
            raise PydanticCustomError(REPORTED, "reported before")
        if value.is_null:
            raise PydanticUseDefault
    return value


def _null_as(default: object, convert: Callable[[object], object]) -> Callable[[object], object]:
    """For entries of mappings, which have no default: null is the type's own zero."""

    def converted(value: object) -> object:
        if value is None or (isinstance(value, Scalar) and value.is_null and not value.is_reported):
            return default
        return convert(value)

    return converted


def as_text(value: object) -> object:
    value = _scalar(value)
    if isinstance(value, Scalar):
        return value.text
    if isinstance(value, str):
        return value
    raise mismatch("text", value, "string")


def as_whole(value: object) -> object:
    """Integers, and floats without a fraction."""
    value = _scalar(value)
    number = value.value if isinstance(value, Scalar) else value
    if isinstance(number, float) and math.isfinite(number) and number == int(number):
        return int(number)
    if isinstance(number, int) and not isinstance(number, bool):
        return number
    raise mismatch("an integer", value, "int")


def as_number(value: object) -> object:
    value = _scalar(value)
    number = value.value if isinstance(value, Scalar) else value
    if isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number):
        return float(number)
    raise mismatch("a number", value, "float")


def as_flag(value: object) -> object:
    """Booleans, and the words of YAML 1.1 even when quoted."""
    value = _scalar(value)
    flag = value.value if isinstance(value, Scalar) else value
    if isinstance(flag, bool):
        return flag
    if isinstance(flag, str) and flag in _TRUE | _FALSE:
        return flag in _TRUE
    raise mismatch("true or false", value, "bool")


def as_duration(value: object) -> object:
    """Seconds from text such as `1m30s`; a bare number has no unit and is refused."""
    value = _scalar(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    text = value.value if isinstance(value, Scalar) else value
    seconds = seconds_of(text) if isinstance(text, str) else None
    if seconds is None:
        raise mismatch("a duration with a unit, such as 90s or 1m30s", value, "duration")
    return seconds


def seconds_of(text: str) -> float | None:
    """Seconds from text such as `1m30s`; None for anything else."""
    if not _DURATION.fullmatch(text):
        return None
    total = sum(float(number) * _NANOSECONDS[unit] for number, unit in _PART.findall(text))
    return total * (-1 if text.startswith("-") else 1) / 1e9


def as_list(value: object) -> object:
    """A list; null is the empty list."""
    if isinstance(value, Scalar):
        if value.is_reported:
            raise PydanticCustomError(REPORTED, "reported before")
        if value.is_null:
            return ()
    if not isinstance(value, list | tuple):
        raise mismatch("a list", value, "list")
    return value


def _text_item(value: object) -> object:
    if value is None or (isinstance(value, Scalar) and value.is_null and not value.is_reported):
        raise PydanticOmit
    return as_text(value)


def as_mapping(value: object) -> object:
    if isinstance(value, Scalar):
        if value.is_reported:
            raise PydanticCustomError(REPORTED, "reported before")
        if value.is_null:
            return {}
    if not isinstance(value, Mapping):
        raise mismatch("a mapping", value, "map")
    return value


def as_plain(value: object) -> object:
    """Anything, as JSON has it; timestamps become RFC 3339 text."""
    match value:
        case Scalar(is_reported=True):
            raise PydanticCustomError(REPORTED, "reported before")
        case Scalar(kind=Kind.FLOAT) if isinstance(value.value, float) and not math.isfinite(value.value):
            raise refuse(f"{value.source} cannot be passed on: JSON knows no such number")
        case Scalar():
            plain = value.value
            return render(plain) if isinstance(plain, datetime) else plain
        case Mapping():
            return {key: as_plain(entry) for key, entry in value.items()}
        case list() | tuple():
            return [as_plain(item) for item in value]
        case _:
            return value


def _schema(*types: str, **more: Any) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [{"type": name} | more for name in types] + [_MACRO]})


_TEXT_SCHEMA = WithJsonSchema({"type": ["string", "number", "boolean"]})
_FLAG_SCHEMA = WithJsonSchema({"anyOf": [{"type": "boolean"}, {"enum": sorted(_TRUE | _FALSE)}, _MACRO]})

Text = Annotated[str, BeforeValidator(as_text), _TEXT_SCHEMA]
Whole = Annotated[int, BeforeValidator(as_whole), _schema("integer")]
Number = Annotated[float, BeforeValidator(as_number), _schema("number")]
Flag = Annotated[bool, BeforeValidator(as_flag), _FLAG_SCHEMA]
Seconds = Annotated[float, BeforeValidator(as_whole), _schema("integer")]
Duration = Annotated[float, BeforeValidator(as_duration), WithJsonSchema({"type": "string"})]
Plain = Annotated[Any, BeforeValidator(as_plain)]

EntryText = Annotated[str, BeforeValidator(_null_as("", as_text)), _TEXT_SCHEMA]
EntryWhole = Annotated[int, BeforeValidator(_null_as(0, as_whole)), _schema("integer")]

Texts = Annotated[
    tuple[Annotated[str, BeforeValidator(_text_item), _TEXT_SCHEMA], ...], BeforeValidator(as_list)
]
"""A list of text; null elements are dropped."""
