"""How the program's own log lines read: levels, the access line, what is escaped in text from clients."""

from __future__ import annotations

import logging
import re

from swapyard.observe.cut import ADDRESS_CHARACTERS, AGENT_CHARACTERS, PATH_CHARACTERS, cut

_LEVEL_NAMES = {
    logging.DEBUG: "DEBUG",
    logging.INFO: "INFO",
    logging.WARNING: "WARN",
    logging.ERROR: "ERROR",
}
_LEVELS = {name.lower(): level for level, name in _LEVEL_NAMES.items()}

_NOT_LOGGED = ("/wol-health", "/api/performance", "/metrics", "/api/yard", "/ui/assets/")

# C0 and C1 controls, the two Unicode line ends, marks that turn the writing direction, lone surrogates, and
# what would end a quoted field.
_UNSAFE = re.compile(
    r'[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff"\\]'
)


def level_number(name: str) -> int:
    """The level of this `logLevel` text (any case, blanks ignored); an unknown one means info."""
    return _LEVELS.get(name.strip().lower(), logging.INFO)


def level_name(level: int) -> str:
    """The name printed for a level of the `logging` module; levels between the four round down."""
    name = _LEVEL_NAMES.get(level)
    if name is not None:
        return name
    for known in (logging.ERROR, logging.WARNING, logging.INFO):
        if level >= known:
            return _LEVEL_NAMES[known]
    return _LEVEL_NAMES[logging.DEBUG]


def line(level: int, message: str, *, time: str = "", prefix: str = "") -> bytes:
    """One log line with its newline; a message of several lines stays as it is."""
    before = f"{time} " if time else ""
    if prefix:
        before += f"[{prefix}] "
    return f"{before}[{level_name(level)}] {message}\n".encode(errors="backslashreplace")


def escaped(text: str) -> str:
    """Text from a client, safe in one log line: controls, quotes and backslashes are spelled out."""
    # Nearly every text is harmless, and this says so ten times faster than the expression does.
    if text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return _UNSAFE.sub(_spelled, text)


def _spelled(found: re.Match[str]) -> str:
    char = found.group()
    if char in '"\\':
        return "\\" + char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def is_access_logged(path: str) -> bool:
    """False for the paths that are asked for every few seconds and would drown everything else."""
    return not path.startswith(_NOT_LOGGED)


def access_line(
    client_ip: str,
    method: str,
    path: str,
    protocol: str,
    status: int,
    body_bytes: int,
    user_agent: str,
    duration: float,
) -> str:
    """The message of one answered request: `path` decoded and without its query, `duration` in seconds."""
    request = escaped(f"{method} {cut(path, PATH_CHARACTERS)} {protocol}")
    client, agent = cut(client_ip, ADDRESS_CHARACTERS), cut(user_agent, AGENT_CHARACTERS)
    return (
        f'Request {escaped(client)} "{request}" {status} {body_bytes} "{escaped(agent)}" '
        f"{duration_text(duration)}"
    )


def duration_text(seconds: float) -> str:
    """Seconds as `1m30s`, `1.234s`, `12.3ms` or `325.676µs`: at most three decimals, no trailing zeros."""
    if seconds >= 59.9995:
        return _minutes_text(round(seconds * 1000))
    # Judged as it will read, so that 0.9999996 s is 1s and not 1000ms.
    if seconds >= 0.9995:
        return f"{_decimal(seconds)}s"
    if seconds >= 0.9995e-3:
        return f"{_decimal(seconds * 1e3)}ms"
    if seconds >= 0.9995e-6:
        return f"{_decimal(seconds * 1e6)}µs"
    return f"{round(seconds * 1e9)}ns" if seconds > 0 else "0s"


def _minutes_text(ms: int) -> str:
    minutes, ms = divmod(ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{f'{hours}h' if hours else ''}{minutes}m{_decimal(ms / 1000)}s"


def _decimal(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")
