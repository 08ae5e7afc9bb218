"""Scalars: which type a spelling has, and how a typed value looks as text.

The typing rules are those the reference's YAML library applies (neither YAML 1.1 nor the 1.2 core schema).
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum


class Kind(StrEnum):
    """Type of a scalar, named as messages to the operator name it."""

    TEXT = "text"
    INTEGER = "integer"
    FLOAT = "float"
    BOOLEAN = "boolean"
    NULL = "null"
    TIMESTAMP = "timestamp"


Value = str | int | float | bool | datetime | None


@dataclass(frozen=True, slots=True)
class Typed:
    """A scalar's type and value."""

    kind: Kind
    value: Value


_WORDS: dict[str, Typed] = {
    **{word: Typed(Kind.NULL, None) for word in ("", "~", "null", "Null", "NULL")},
    **{word: Typed(Kind.BOOLEAN, True) for word in ("true", "True", "TRUE")},
    **{word: Typed(Kind.BOOLEAN, False) for word in ("false", "False", "FALSE")},
    **{
        sign + word: Typed(Kind.FLOAT, -math.inf if sign == "-" else math.inf)
        for sign in ("", "+", "-")
        for word in (".inf", ".Inf", ".INF")
    },
    **{word: Typed(Kind.FLOAT, math.nan) for word in (".nan", ".NaN", ".NAN")},
}
_INTEGER = re.compile(r"([-+]?)(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_DATE = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})"
    r"(?:(?P<separator>[Tt ])(\d{1,2}):(\d{1,2}):(\d{1,2})(?:\.(\d{1,9}))?(?P<zone>Z|[-+]\d\d:\d\d)?)?"
)
_TAGS = {
    "tag:yaml.org,2002:str": Kind.TEXT,
    "tag:yaml.org,2002:int": Kind.INTEGER,
    "tag:yaml.org,2002:float": Kind.FLOAT,
    "tag:yaml.org,2002:bool": Kind.BOOLEAN,
    "tag:yaml.org,2002:null": Kind.NULL,
    "tag:yaml.org,2002:timestamp": Kind.TIMESTAMP,
}
_BINARY = "tag:yaml.org,2002:binary"


_HALF = re.compile(r"[\ud800-\udfff]")


def joined_halves(text: str) -> tuple[str, list[str]]:
    """Text whose pairs of surrogates are the characters that they stand for; also the rules that it breaks.

    `"\\ud83d\\ude00"` is how JSON, and so `json.dumps`, writes a character beyond U+FFFF.
    """
    if text.isascii() or not _HALF.search(text):
        return text, []
    joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    halves = dict.fromkeys(_HALF.findall(joined))
    rules = [f"\\u{ord(half):04x} is half of a character; the other half is missing" for half in halves]
    return _HALF.sub("\ufffd", joined), rules


def type_plain(text: str) -> Typed:
    """Type an unquoted scalar."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in "+-.0123456789":
        return _number(text) or _timestamp(text) or Typed(Kind.TEXT, text)
    return Typed(Kind.TEXT, text)


def type_scalar(text: str, *, plain: bool, tag: str | None) -> Typed:
    """Type a scalar by its tag, else by its spelling; unknown tags count as none.

    Raises ValueError when the text does not have the type that its tag claims.
    """
    if tag == _BINARY:
        return Typed(Kind.TEXT, _decoded(text))
    wanted = _TAGS.get(tag or "")
    if wanted is Kind.TEXT or (wanted is None and not plain):
        return Typed(Kind.TEXT, text)
    found = type_plain(text)
    if wanted is Kind.FLOAT and isinstance(found.value, int) and found.kind is Kind.INTEGER:
        return Typed(Kind.FLOAT, float(found.value))
    if wanted not in (None, found.kind):
        raise ValueError(f"cannot read {text!r} as {wanted}")
    return found


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=False).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {text!r} as base64 text") from error


def _number(text: str) -> Typed | None:
    digits = text[0] + text[1:].replace("_", "")
    if match := _INTEGER.fullmatch(digits):
        number = _integer(match[2]) * (-1 if match[1] == "-" else 1)
        if -(2**63) <= number < 2**64:
            return Typed(Kind.INTEGER, number)
        return Typed(Kind.FLOAT, float(number) if abs(number) < 2**1023 else math.inf)
    if _FLOAT.fullmatch(digits):
        return Typed(Kind.FLOAT, float(digits))
    return None


def _integer(digits: str) -> int:
    is_old_octal = len(digits) > 1 and digits[0] == "0" and digits[1].isdigit()
    return int(digits, 8) if is_old_octal else int(digits, 0)


def _timestamp(text: str) -> Typed | None:
    match = _DATE.fullmatch(text)
    if not match:
        return None
    zone = match["zone"]
    # With a T the zone is mandatory, after a blank it is forbidden.
    if match["separator"] is not None and (match["separator"] == " ") == (zone is not None):
        return None
    year, month, day, hour, minute, second = (int(match[group] or 0) for group in (1, 2, 3, 5, 6, 7))
    stamp = f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
    fraction = f".{match[8][:6].ljust(6, '0')}" if match[8] else ""
    try:
        return Typed(Kind.TIMESTAMP, datetime.fromisoformat(stamp + fraction + (zone or "Z")))
    except ValueError:
        return None


def render(value: Value) -> str:
    """A typed value as text, as the reference writes it into a command line.

    Floats: the shortest digits that read back, in scientific notation when the exponent is below -4 or at
    least 6, without a trailing `.0`.
    """
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float():
            return _render_float(value)
        case datetime():
            return _render_timestamp(value)
        case _:
            return str(value)


def _render_float(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    mantissa, _, exponent = f"{value!r}".partition("e")
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, fraction = mantissa.removeprefix("-").partition(".")
    digits = (whole + fraction).lstrip("0")
    if not digits:
        return sign + "0"
    # The value is 0.DIGITS times ten to the power `point`.
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    if point - 1 < -4 or point - 1 >= 6:
        power = f"{point - 1:+03d}"
        return sign + digits[0] + ("." + digits[1:] if len(digits) > 1 else "") + "e" + power
    if point <= 0:
        return sign + "0." + "0" * -point + digits
    head, tail = digits[:point].ljust(point, "0"), digits[point:]
    return sign + head + ("." + tail if tail else "")


def _render_timestamp(value: datetime) -> str:
    text = value.isoformat()
    if value.microsecond:
        head, zone = text[:26], text[26:]
        text = head.rstrip("0") + zone
    return text.removesuffix("+00:00") + "Z" if value.utcoffset() == UTC.utcoffset(value) else text
