"""Opening a connection to an upstream: names, TCP, a forward proxy on the way, TLS."""

from __future__ import annotations

import asyncio
import errno
import functools
import logging
import socket
import ssl
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from swapyard.config.schema import Timeouts
from swapyard.errors import Fault, UpstreamError, UpstreamGoneError
from swapyard.proxy.connection import Connection, cause
from swapyard.proxy.proxies import ForwardProxy, proxy_for
from swapyard.web.wire import ask_if_alive

NO_LIMIT = 24 * 3600.0
"""Stands for "no limit" where a timeout cannot be left out: seconds."""

NEXT_ADDRESS_AFTER = 3.0
"""Seconds that one address may take while there is another to try."""

EXHAUSTED = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL, errno.EAGAIN}
)
"""What the system says when we may have no more descriptors, memory, ports or threads: our own shortage."""

TRY_AGAIN_AFTER = 1.0
"""Seconds after which a request may find what was exhausted."""

log = logging.getLogger(__name__)

PROXY_HEAD_LIMIT_BYTES = 64 * 1024

Address = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port of a base URL; `authority` is what a Host header says."""

    scheme: str
    host: str
    port: int
    authority: bytes

    @property
    def peer(self) -> str:
        """host:port, for messages."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_base_url(url: str) -> tuple[Origin, bytes, bytes]:
    """Origin, path and query of an http:// or https:// URL; ValueError for anything else."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"not an http:// or https:// URL: {url!r}")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = parts.hostname
    if not host.isascii():
        host = host.encode("idna").decode("ascii")
    authority = f"[{host}]" if ":" in host else host
    if parts.port:
        authority += f":{parts.port}"
    origin = Origin(parts.scheme, host, port, authority.encode())
    return origin, parts.path.encode(), parts.query.encode()


class Dialer:
    """Opens connections to one origin, each ready for its first request."""

    def __init__(
        self,
        origin: Origin,
        timeouts: Timeouts,
        environ_proxies: Mapping[str, str],
        ssl_context: ssl.SSLContext | None,
    ) -> None:
        self._origin = origin
        self._timeouts = timeouts
        self._environ = environ_proxies
        self._ssl = ssl_context

    @functools.cached_property
    def proxy(self) -> ForwardProxy | None:
        """The forward proxy on the way to the origin; raises UpstreamError when it is not usable."""
        return proxy_for(self._origin.scheme, self._origin.host, self._origin.port, self._environ)

    async def dial(self) -> Connection:
        """A new connection; raises UpstreamError with host, port and cause."""
        origin, proxy = self._origin, self.proxy
        tls = (self._ssl or _system_trust()) if origin.scheme == "https" else None
        sock = await self._reach(proxy)
        try:
            # From here on the socket is the loop's, which closes it when this fails or is cancelled.
            return await self._wrap(sock, tls)
        except OSError as error:
            raise self._error(f"TLS: {_tls_cause(error)}" if tls else cause(error), error) from error

    async def _reach(self, proxy: ForwardProxy | None) -> socket.socket:
        """A socket that the origin is at the other end of."""
        host, port = (self._origin.host, self._origin.port) if proxy is None else (proxy.host, proxy.port)
        try:
            async with asyncio.timeout(limit_of(self._timeouts.connect)) as limit:
                sock = await _connected(await _addresses(host, port), self._timeouts.keepalive)
                if proxy is not None and self._origin.scheme == "https":
                    await _through(sock, proxy, self._origin.peer)
        except OSError as error:
            if limit.expired():
                why = f"no connection within {self._timeouts.connect:g} s"
            else:
                why = _network_cause(error)
            raise self._error(why if proxy is None else f"proxy {host}:{port}: {why}", error) from error
        return sock

    async def _wrap(self, sock: socket.socket, tls: ssl.SSLContext | None) -> Connection:
        loop, peer = asyncio.get_running_loop(), self._origin.peer
        if tls is None:
            _, connection = await loop.create_connection(lambda: Connection(peer), sock=sock)
        else:
            _, connection = await loop.create_connection(
                lambda: Connection(peer),
                sock=sock,
                ssl=tls,
                server_hostname=self._origin.host,
                ssl_handshake_timeout=limit_of(self._timeouts.tls_handshake) or NO_LIMIT,
            )
        return connection

    def _error(self, why: str, error: OSError) -> UpstreamError:
        if error.errno in EXHAUSTED:
            log.warning("no connection to %s: %s", self._origin.peer, why)
            message = f"{self._origin.peer}: no connection could be made here: {why}"
            return UpstreamError(Fault.EXHAUSTED, message, retry_after=TRY_AGAIN_AFTER)
        return UpstreamGoneError(Fault.BAD_GATEWAY, f"{self._origin.peer}: {why}")


def limit_of(seconds: float) -> float | None:
    """A configured timeout as asyncio wants it: zero and below mean no limit."""
    return seconds if seconds > 0 else None


@functools.cache
def _system_trust() -> ssl.SSLContext:
    """Verification against the system's certificates; loading them takes tens of milliseconds, so once."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


async def _addresses(host: str, port: int) -> list[Address]:
    """Where to try, in order, families taking turns.

    `localhost` is not looked up: a local server may listen on either family, whatever the hosts file says.
    """
    v4: Address = (socket.AF_INET, ("127.0.0.1", port))
    v6: Address = (socket.AF_INET6, ("::1", port))
    if host == "localhost":
        return [v4, v6]
    if host == "127.0.0.1":
        return [v4]
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except RuntimeError as error:  # no thread for it: we may not start another one
        raise OSError(errno.EAGAIN, str(error)) from error
    addresses: list[Address] = [(family, where) for family, _, _, _, where in found]
    preferred = addresses[0][0]
    same = [address for address in addresses if address[0] == preferred]
    other = [address for address in addresses if address[0] != preferred]
    return [*same[:1], *other[:1], *same[1:], *other[1:]]


async def _connected(addresses: list[Address], keepalive: float) -> socket.socket:
    """A socket connected to the first address that answers; the first one's error when none does."""
    first_error: OSError | None = None
    for address in addresses:
        try:
            async with asyncio.timeout(None if address is addresses[-1] else NEXT_ADDRESS_AFTER):
                return await _connect(address, keepalive)
        except OSError as error:
            first_error = first_error or error
    assert first_error is not None
    raise first_error


async def _connect(address: Address, keepalive: float) -> socket.socket:
    family, where = address
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Before connecting: macOS refuses options once the other side has closed.
        ask_if_alive(sock, keepalive)
        await asyncio.get_running_loop().sock_connect(sock, where)
    except BaseException:
        sock.close()
        raise
    return sock


async def _through(sock: socket.socket, proxy: ForwardProxy, peer: str) -> None:
    """Ask the proxy at the other end of the socket for a tunnel; OSError when it refuses."""
    try:
        loop = asyncio.get_running_loop()
        head = f"CONNECT {peer} HTTP/1.1\r\nHost: {peer}\r\n".encode()
        if proxy.authorization is not None:
            head += b"Proxy-Authorization: " + proxy.authorization + b"\r\n"
        await loop.sock_sendall(sock, head + b"\r\n")
        answer = b""
        # What is behind the blank line is TLS, in which the client speaks first: nothing is read too far.
        while b"\r\n\r\n" not in answer:
            data = await loop.sock_recv(sock, 4096)
            if not data or len(answer) > PROXY_HEAD_LIMIT_BYTES:
                raise OSError("it broke off")
            answer += data
        status_line = answer.partition(b"\r\n")[0]
        if not status_line.startswith((b"HTTP/1.1 2", b"HTTP/1.0 2")):
            raise OSError(f"it refused: {status_line.decode('latin-1')}")
    except BaseException:
        sock.close()
        raise


def _network_cause(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return f"host name not found ({error.strerror})"
    if sys.platform == "darwin" and error.errno == errno.EHOSTUNREACH:
        return f"{cause(error)} (macOS: may this program use the local network? see Privacy settings)"
    return cause(error)


def _tls_cause(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not accepted, {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).lower().replace("_", " ")
    return cause(error)
