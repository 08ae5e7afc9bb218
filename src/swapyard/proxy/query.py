"""Query strings and urlencoded forms: one name found as strictly as the reference finds it, and replaced.

Neither loops over the pairs: a form may hold millions.  Every byte that is not a pair of that name stays.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote_plus, unquote_to_bytes

from swapyard.proxy.json_scan import Source, Walk
from swapyard.proxy.splice import Edit, Spliced, Splicer

STEP_BYTES = 32 * 1024
"""How much is searched at once."""


class _Piece(NamedTuple):
    """Pairs side by side, with the ampersand before them, from `start` to `end` of the text.

    `text` is that, or the beginning of it if this is a single pair that is longer than a step.
    """

    start: int
    end: int
    text: bytes


def first_value(text: Source, name: bytes, limit_bytes: int) -> Walk[bytes | None]:
    """The value of the first pair of that name, b"" included; None when there is none.

    A pair with a raw `;` or a broken percent escape does not count (specification, §2.1).  A value that is
    longer than the limit comes back as more bytes than that, whatever they are.
    """
    pair = _pair(name)
    for piece in _pieces(text):
        found = pair.search(piece.text) if piece is not None and _may_hold(piece, name) else None
        if found is not None:
            # No spelling of a byte is longer than three.
            spelt = (found["value"] or b"")[: 3 * limit_bytes + 3]
            return unquote_to_bytes(spelt.replace(b"+", b" "))
        yield
    return None


def with_value(text: Source, name: bytes, value: str) -> Walk[Spliced | None]:
    """The text with this value for the first pair of that name and no other pair of it; None for none."""
    pair, another, splicer = _pair(name), _pair(name, before=b"&"), Splicer(text)
    for piece in _pieces(text):
        if piece is not None and _may_hold(piece, name):
            start = piece.start
            if splicer.is_unused and (found := pair.search(piece.text)) is not None:
                end = start + found.end() if found.end() < len(piece.text) else piece.end
                new = name + b"=" + quote_plus(value, safe="~").encode()
                splicer.edit(Edit(start + found.start(), end, new))
                start = end
            if not splicer.is_unused:
                rest, count = another.subn(b"", piece.text[start - piece.start :])
                if count:
                    splicer.edit(Edit(start, piece.end, rest))
        yield
    return None if splicer.is_unused else splicer.spliced()


def _pieces(text: Source) -> Generator[_Piece | None, None, None]:
    """The whole text, and None for every step that is none of a piece's own."""
    start, size = 0, len(text)
    while start < size:
        piece = bytes(text[start : start + STEP_BYTES])
        end = start + len(piece)
        if end < size:
            cut = piece.rfind(b"&", 1)
            if cut > 0:
                piece, end = piece[:cut], start + cut
            else:
                # Without half of an escape.
                piece = piece[:-2] + piece[-2:].partition(b"%")[0]
                while end < size:
                    step = bytes(text[end : end + STEP_BYTES])
                    cut = step.find(b"&")
                    end += len(step) if cut < 0 else cut
                    if cut >= 0:
                        break
                    yield None
        yield _Piece(start, end, piece)
        start = end


def _may_hold(piece: _Piece, name: bytes) -> bool:
    """Looking for the name, or for any escape, is faster than looking for a pair."""
    return name in piece.text or b"%" in piece.text


@lru_cache(maxsize=16)
def _pair(name: bytes, before: bytes = b"(?<![^&])") -> re.Pattern[bytes]:
    """A well written pair of this name in every spelling of its letters."""
    spelt = b"".join(b"(?:%b|%%%b)" % (re.escape(bytes((byte,))), _digits(byte)) for byte in name)
    value = rb"(?P<value>(?:[^&;%]++|%[0-9a-fA-F]{2})*+)"
    return re.compile(before + spelt + b"(?:=" + value + b")?+(?![^&])")


def _digits(byte: int) -> bytes:
    return b"".join(
        b"[%c%c]" % (digit, digit ^ 32) if digit > 57 else b"%c" % digit for digit in b"%02x" % byte
    )
