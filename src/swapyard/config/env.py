"""References to environment variables, `${env.NAME}`: found before parsing, filled in after it.

Before YAML is parsed each reference is replaced by a marker that is harmless in every kind of scalar, so that
`[${env.KEY}]` parses and comments do not count.  Values go in after parsing: they can neither change the
structure nor need escaping.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

REFERENCE = re.compile(r"\$\{env\.([a-zA-Z_][a-zA-Z0-9_]*)\}")

_PRIVATE = range(0xE000, 0xF900)

# What Python makes of bytes in a variable that are no UTF-8 (PEP 383).
_UNDECODABLE = re.compile(r"[\ud800-\udfff]")

# Stands for the $ of a reference that came out of a variable's value, which is never looked up again.  No
# other lone surrogate gets this far.
_INERT_DOLLAR = "\udc24"


@dataclass(frozen=True, slots=True)
class MaskedText:
    """YAML text whose references are markers."""

    text: str
    _marker: re.Pattern[str]

    def fill(self, scalar: str, environ: Mapping[str, str]) -> tuple[str, list[str]]:
        """Put values in for the markers; also the rules that are broken (then the text is of no use)."""
        rules: list[str] = []

        def value(match: re.Match[str]) -> str:
            name = match[1]
            found = environ.get(name)
            if found is None:
                rules.append(f"environment variable '{name}' is not set")
                return ""
            if any(char in found for char in "\n\r\0"):
                rules.append(
                    f"environment variable '{name}' holds newlines or NUL, which cannot be used here"
                )
                return ""
            if not found.isascii() and _UNDECODABLE.search(found):
                rules.append(f"environment variable '{name}' is not UTF-8, and cannot be used here")
                return ""
            return found.replace("${env.", _INERT_DOLLAR + "{env.")

        return self._marker.sub(value, scalar), rules


def mask(text: str) -> MaskedText:
    """Replace every reference by a marker made of two characters that the text does not use."""
    if "${env." not in text:
        return MaskedText(text, re.compile(r"(?!)"))
    used = set(text)
    free = (chr(code) for code in _PRIVATE if chr(code) not in used)
    opening, closing = next(free), next(free)
    masked = REFERENCE.sub(lambda match: opening + match[1] + closing, text)
    return MaskedText(masked, re.compile(f"{opening}([a-zA-Z0-9_]+){closing}"))


def reveal(text: str) -> str:
    """Text as it is meant, once nothing looks for references any more."""
    return text.replace(_INERT_DOLLAR, "$")
