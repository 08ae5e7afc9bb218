"""Finds out when a starting model is ready, as early as can be and without being a burden."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import time
from dataclasses import dataclass
from functools import cache
from urllib.parse import quote, urlsplit

from swapyard.processes.ports import connect, loopback_addresses, port_of

NO_PROBE = "none"
"""The check endpoint of a model that counts as ready as soon as it runs."""
PASSES = 200
CONNECT_TIMEOUT = 0.5
"""Seconds to connect to this machine; another one has the model's connect timeout, up to ANSWER_TIMEOUT."""
ANSWER_TIMEOUT = 5.0
FIRST_PAUSE = 0.005
CLOSEST_PAUSE = 0.015
WIDEST_PAUSE = 0.1
PATIENCE = 200
"""A server that answers is asked again after 1/PATIENCE of the time it has taken so far."""
HEAD_LIMIT_BYTES = 64 * 1024
STATUS = re.compile(rb"[1-9][0-9]{2}")
PLAIN = "/?%:@!$&'()*+,;=~"
"""Characters of a path or query that stay as they are written (RFC 3986 §3.3)."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a model answers its health check."""

    host: str
    port: int
    tls: bool
    path: str
    connect_timeout: float


def endpoint(proxy: str, check_endpoint: str, connect_timeout: float) -> Endpoint:
    """Join the base URL of a model and its check endpoint; both have been checked to be usable.

    `connect_timeout` in seconds, 0 for none.
    """
    base, check = urlsplit(proxy), urlsplit(check_endpoint)
    host = base.hostname or ""
    path = quote(f"{base.path.rstrip('/')}/{check.path.lstrip('/')}", safe=PLAIN)
    query = quote(check.query or base.query, safe=PLAIN)
    limit = min(connect_timeout or ANSWER_TIMEOUT, ANSWER_TIMEOUT)
    if loopback_addresses(host):
        limit = CONNECT_TIMEOUT
    return Endpoint(host, port_of(proxy), base.scheme == "https", f"{path}?{query}" if query else path, limit)


def pause(elapsed: float, *, answered: bool) -> float:
    """Seconds until the next probe, `elapsed` seconds after the first.

    A refused connection costs next to nothing (0.2 ms), so a server that does not listen yet is asked every
    15 ms for as long as it takes.  A server that answers "not yet" writes a log line for each answer, so the
    pauses grow with the time that it takes, to a lateness of half a percent and at most 0.1 s.
    """
    if elapsed < CLOSEST_PAUSE * 2:
        return FIRST_PAUSE
    if not answered:
        return CLOSEST_PAUSE
    return min(max(CLOSEST_PAUSE, elapsed / PATIENCE), WIDEST_PAUSE)


async def wait_until_ready(target: Endpoint) -> None:
    """Return when a probe passes; cancel it to give up.  The deadline is the caller's."""
    begun = time.monotonic()
    await asyncio.sleep(FIRST_PAUSE)
    while True:
        status = await probe(target)
        if status == PASSES:
            return
        await asyncio.sleep(pause(time.monotonic() - begun, answered=status is not None))


async def probe(target: Endpoint) -> int | None:
    """Ask once, within its own deadline, following no redirect; the status, None when nobody answered."""
    try:
        async with asyncio.timeout(target.connect_timeout):
            connection = await _connect(target)
    except (OSError, TimeoutError):
        return None
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            tls = _tls() if target.tls else None
            reader, writer = await asyncio.open_connection(
                sock=connection, ssl=tls, server_hostname=target.host if tls else None, limit=HEAD_LIMIT_BYTES
            )
            writer.write(_request(target))
            return await _read_status(reader)
    except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return None
    finally:
        if writer is None:
            connection.close()
        else:
            writer.close()


async def _connect(target: Endpoint) -> socket.socket:
    addresses = loopback_addresses(target.host) or await _resolve(target)
    refused = OSError("no address")
    for address in addresses:
        try:
            return await connect(address, target.port)
        except OSError as error:
            refused = error
    raise refused


async def _resolve(target: Endpoint) -> tuple[str, ...]:
    found = await asyncio.get_running_loop().getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    return tuple(str(address[0]) for *_, address in found)


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _request(target: Endpoint) -> bytes:
    host = f"[{target.host}]" if ":" in target.host else target.host
    lines = (
        f"GET {target.path} HTTP/1.1",
        f"Host: {host}:{target.port}",
        "User-Agent: swapyard",
        "Accept: */*",
        "Connection: close",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _read_status(reader: asyncio.StreamReader) -> int:
    """The status of the final response head (RFC 9112 §4); raises ValueError when it is no such answer."""
    head_bytes = 0
    while True:
        head = await reader.readuntil(b"\n")
        version, status, *_ = head.split(None, 2)
        if not version.startswith(b"HTTP/") or not STATUS.fullmatch(status):
            raise ValueError("not an HTTP response")
        if int(status) >= 200:
            return int(status)
        while head.strip():
            head_bytes += len(head)
            if head_bytes > HEAD_LIMIT_BYTES:
                raise ValueError("nothing but informational answers")
            head = await reader.readuntil(b"\n")
