"""Command lines as the configuration writes them: comment lines, line ends, quotes.

No shell: no variables, globs, pipes or redirections.  The rules of Windows differ from those of POSIX.
"""

from __future__ import annotations

import re

_POSIX_SPACE = " \t\n"
_WINDOWS_SPACE = " \t\r\n"
# Within double quotes a backslash is itself before anything but these.
_POSIX_ESCAPABLE = '$`"\\\n'
_BEFORE_QUOTE = re.compile(r'(\\+)(?=")')


def strip_comments(text: str) -> str:
    """Drop every line whose first character that is not blank is `#`, wherever it stands."""
    return "\n".join(line for line in text.split("\n") if not line.lstrip().startswith("#"))


def split(text: str, *, windows: bool) -> list[str]:
    """Arguments of a command text by the rules of the platform; raises ValueError("empty command")."""
    return split_windows(text) if windows else split_posix(text)


def split_posix(text: str) -> list[str]:
    """Arguments of a command text; raises ValueError("empty command") when there is none.

    A backslash at the end of a line is decoration: the line end separates anyway.  An unclosed quote
    reaches to the end.
    """
    words = _Words()
    quote = ""
    rest = iter(_joined(text, windows=False))
    for char in rest:
        if quote == "'" or (quote and char != "\\"):
            if char == quote:
                quote = ""
            else:
                words.add(char)
        elif char == "\\":
            following = next(rest, "")
            kept = "\\" if quote and following not in _POSIX_ESCAPABLE else ""
            if kept or following not in ("", "\n"):
                words.add(kept + following)
        elif char in "\"'":
            quote = char
            words.open()
        elif char in _POSIX_SPACE:
            words.close()
        else:
            words.add(char)
    return words.finish()


def split_windows(text: str) -> list[str]:
    """Arguments of a command text by Windows rules; raises ValueError("empty command") when there is none.

    Only `"` quotes.  Before a `"`, 2n backslashes are n and the quote acts, 2n+1 are n and a plain quote;
    elsewhere they are themselves.  `""` within quotes is a plain quote.
    """
    words = _Words()
    line = _joined(text, windows=True)
    position, quoted = 0, False
    while position < len(line):
        char = line[position]
        if run := _BEFORE_QUOTE.match(line, position):
            count = len(run.group())
            words.add("\\" * (count // 2) + ('"' if count % 2 else ""))
            position += count + count % 2
        elif quoted and line.startswith('""', position):
            words.add('"')
            position += 2
        else:
            if char == '"':
                quoted = not quoted
                words.open()
            elif char in _WINDOWS_SPACE and not quoted:
                words.close()
            else:
                words.add(char)
            position += 1
    return words.finish()


def _joined(text: str, *, windows: bool) -> str:
    lines = strip_comments(text).split("\n")
    return "\n".join(_without_continuation(line, windows=windows) for line in lines)


def _without_continuation(line: str, *, windows: bool) -> str:
    trimmed = line.strip()
    if not trimmed.endswith("\\"):
        return line
    # On Windows a directory may end in a backslash; there only a backslash that stands alone continues.
    if windows and len(trimmed) > 1 and trimmed[-2] not in _WINDOWS_SPACE:
        return line
    return trimmed[:-1] + " "


class _Words:
    """Collects words; an opened word counts even when nothing is added to it."""

    def __init__(self) -> None:
        self._done: list[str] = []
        self._word: str | None = None

    def open(self) -> None:
        self._word = self._word or ""

    def add(self, text: str) -> None:
        self._word = (self._word or "") + text

    def close(self) -> None:
        if self._word is not None:
            self._done.append(self._word)
        self._word = None

    def finish(self) -> list[str]:
        self.close()
        if not self._done:
            raise ValueError("empty command")
        return self._done
