"""Which forward proxy, if any, stands between us and a host: HTTP_PROXY, HTTPS_PROXY and NO_PROXY.

Rules as the field reads these variables (Go's net/http ProxyFromEnvironment, curl): both spellings of a
name, loopback never proxied, NO_PROXY entries are hosts, domain endings, addresses or networks.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from urllib.parse import unquote, urlsplit

from swapyard.errors import Fault, UpstreamError


@dataclass(frozen=True, slots=True)
class ForwardProxy:
    """Where to connect instead, and what `Proxy-Authorization` to show there (None: nothing)."""

    host: str
    port: int
    authorization: bytes | None


def proxy_for(scheme: str, host: str, port: int, environ: Mapping[str, str]) -> ForwardProxy | None:
    """The proxy for this origin, None for a direct connection.

    Raises UpstreamError when the variable names a proxy that is not spoken here (only http:// is).
    """
    name = f"{scheme}_proxy"
    url = environ.get(name) or environ.get(name.upper(), "")
    excluded = environ.get("no_proxy") or environ.get("NO_PROXY", "")
    if not url or is_loopback(host) or _excluded(host, port, excluded):
        return None
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        proxy_port = parts.port or 80
    except ValueError:
        proxy_port = 0
    if parts.scheme != "http" or not parts.hostname or not proxy_port:
        raise UpstreamError(Fault.BAD_GATEWAY, f"{name.upper()} is not the address of an http:// proxy")
    return ForwardProxy(parts.hostname, proxy_port, _authorization(parts.username, parts.password))


def is_loopback(host: str) -> bool:
    """Whether this host name or address is this machine talking to itself."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _authorization(user: str | None, password: str | None) -> bytes | None:
    if user is None:
        return None
    credentials = f"{unquote(user)}:{unquote(password or '')}"
    return b"Basic " + base64.b64encode(credentials.encode())


def _excluded(host: str, port: int, excluded: str) -> bool:
    host = host.lower().rstrip(".")
    return any(_matches(host, port, entry) for part in excluded.split(",") if (entry := part.strip().lower()))


def _matches(host: str, port: int, entry: str) -> bool:
    if entry == "*":
        return True
    if _in_network(host, entry):
        return True
    name, colon, number = entry.rpartition(":")
    if colon and number.isdigit():
        if int(number) != port:
            return False
        entry = name.strip("[]")
        if _in_network(host, entry):
            return True
    # ".example.com" covers what is below it, "example.com" itself too.
    ending = entry.removeprefix("*")
    return host.endswith(ending) if ending.startswith(".") else host == ending or host.endswith("." + ending)


def _in_network(host: str, entry: str) -> bool:
    try:
        return ip_address(host) in ip_network(entry, strict=False)
    except ValueError:
        return False
