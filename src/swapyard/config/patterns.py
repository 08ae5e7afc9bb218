"""Operators' expressions: RE2's syntax on RE2's engine, so that no text from outside can stall a search."""

from __future__ import annotations

import re2

LONGEST_TEXT_BYTES = 4096
"""Bytes of UTF-8 that are searched.  Longer paths name no file: PATH_MAX is 4096 on Linux, 1024 on macOS."""

MEMORY_BYTES = 1024 * 1024
"""Most that one compiled expression may take, the engine's tables for searching included."""


class Pattern:
    """An expression to search for, anywhere in a text.

    A search takes time in proportion to the text and, for the worst expressions, to the expression: 45 ms for
    LONGEST_TEXT_BYTES and the largest that MEMORY_BYTES allows.  Raises ValueError with RE2's reason.
    Source: https://github.com/google/re2/wiki/Syntax.
    """

    def __init__(self, text: str) -> None:
        options = re2.Options()
        options.max_mem = MEMORY_BYTES
        options.never_capture = True
        options.log_errors = False
        try:
            self._compiled = re2.compile(text, options)
        except re2.error as error:
            raise ValueError(_reason(error)) from error

    def is_in(self, text: str) -> bool:
        """Whether the expression matches somewhere in `text`; never in more than LONGEST_TEXT_BYTES."""
        data = text.encode("utf-8", "replace")
        return len(data) <= LONGEST_TEXT_BYTES and self._compiled.search(data) is not None


def _reason(error: Exception) -> str:
    reason = error.args[0]
    return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
