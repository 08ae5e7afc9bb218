"""The lenient check of addresses that existing configuration files rely on."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BAD_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*):")
_PORT = re.compile(r"(:[0-9]*)?")
_BAD_IN_HOST = re.compile(r"[\s<>\"\\^`{|}]")


def url_problem(url: str) -> str | None:
    """Why this is no URL at all; None also for odd ones such as `localhost:80`, whose scheme is localhost."""
    if found := path_problem(url):
        return found
    if url.startswith(":"):
        return "missing protocol scheme"
    scheme = _SCHEME.match(url)
    rest = url[scheme.end() :] if scheme else url
    if not scheme and ":" in re.split(r"[/?#]", url, maxsplit=1)[0]:
        return "first path segment cannot contain a colon; write http:// in front"
    return _host_problem(re.split(r"[/?#]", rest[2:], maxsplit=1)[0]) if rest.startswith("//") else None


def path_problem(path: str) -> str | None:
    """Why this cannot be part of a URL: control characters, a percent sign without two hex digits."""
    if _CONTROL.search(path):
        return "holds a control character"
    return "holds % without two hex digits after it" if _BAD_ESCAPE.search(path) else None


def _host_problem(authority: str) -> str | None:
    host = authority.rpartition("@")[2]
    if host.startswith("["):
        host, closing, port = host.partition("]")
        if not closing:
            return "missing ']' in host"
    else:
        host, colon, digits = host.partition(":")
        port = colon + digits
    if _BAD_IN_HOST.search(host):
        return "the host holds a character that is not allowed there"
    return None if _PORT.fullmatch(port) else f"invalid port {port!r}"


def is_http(url: str) -> bool:
    """Whether requests can be sent there."""
    return bool(re.match(r"https?://[^/?#]", url, re.IGNORECASE))
