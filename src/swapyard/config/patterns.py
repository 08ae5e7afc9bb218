"""RE2-style regular expressions on Python's engine: what RE2 does not have is refused."""

from __future__ import annotations

import re

Pattern = re.Pattern[str]

_TOKEN = re.compile(
    r"""(?P<escape>\\x\{[0-9a-fA-F]+\}|\\.)
      | (?P<set>\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*\])
      | (?P<opening>\(\?(?:P<|P=|P>|<[=!]|[<=!>(\#]|[-\w]*[:)]?))
      | (?P<possessive>(?:[*+?]|\{\d+,?\d*\})\+)
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_IN_SET = re.compile(r"(?P<escape>\\x\{[0-9a-fA-F]+\}|\\.)|(?P<named>\[:\^?\w+:\])|(?P<doubled>[\[&~|])")
_LOOKS_AROUND = {"(?=", "(?!", "(?<=", "(?<!"}
_NOT_RE2 = {"(?P=": "back-reference", "(?P>": "recursion", "(?>": "atomic group", "(?(": "conditional"}
_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7f",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": r"0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}


def compile_pattern(text: str) -> Pattern:
    """Compile an RE2-style expression for `search`.

    Raises ValueError with the reason: bad syntax, or something RE2 does not have (look-around,
    back-references, atomic groups, conditionals, possessive quantifiers) or Python does not (`\\p{...}`).
    Source: the syntax page of RE2.
    """
    try:
        return re.compile(_translated(text), re.ASCII)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(str(error)) from error


def _translated(text: str) -> str:
    parts: list[str] = []
    for token in _TOKEN.finditer(text):
        piece = token.group()
        match token.lastgroup:
            case "escape":
                parts.append(_escape(piece))
            case "set":
                parts.append(piece[0] + _IN_SET.sub(_set_member, piece[1:]))
            case "opening":
                parts.append(_opening(piece))
            case "possessive":
                raise ValueError(f"{piece} is not part of RE2")
            case _:
                # Python's $ also matches before a final newline.
                parts.append(r"\Z" if piece == "$" and "(?m" not in text else piece)
    return "".join(parts)


def _set_member(match: re.Match[str]) -> str:
    piece = match.group()
    if match.lastgroup == "escape":
        return _escape(piece)
    # Python reserves [[, &&, ~~ and || within a set.
    return _named_class(piece) if match.lastgroup == "named" else "\\" + piece


def _escape(piece: str) -> str:
    if piece[1] in "123456789":
        raise ValueError(f"back-reference {piece} is not part of RE2")
    if piece[1] in "pPCQE":
        raise ValueError(f"{piece} is not supported")
    if piece == r"\z":
        return r"\Z"
    if piece.startswith(r"\x{"):
        return re.escape(chr(int(piece[3:-1], 16)))
    return piece


def _named_class(piece: str) -> str:
    name = piece[2:-2]
    if name not in _CLASSES:
        raise ValueError(f"{piece} is not supported")
    return _CLASSES[name]


def _opening(piece: str) -> str:
    if piece in _LOOKS_AROUND:
        raise ValueError(f"look-around {piece} is not part of RE2")
    if piece in _NOT_RE2:
        raise ValueError(f"{_NOT_RE2[piece]} {piece} is not part of RE2")
    return "(?P<" if piece == "(?<" else piece
