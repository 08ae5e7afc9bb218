"""Whether somebody already listens where a model is going to listen."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
import time
from urllib.parse import urlsplit

import psutil

RELEASE_PATIENCE = 1.0
"""Seconds for a port that is just being let go: a container's port outlives its command by a moment."""
LOOK_AGAIN = 0.02
ANSWER_TIMEOUT = 0.25
DEFAULT_PORTS = {"http": 80, "https": 443}


def port_of(url: str) -> int:
    """The port of an http(s) URL; raises ValueError when it has none that is usable."""
    parts = urlsplit(url)
    return parts.port or DEFAULT_PORTS[parts.scheme]


def loopback_addresses(host: str) -> tuple[str, ...]:
    """The addresses behind a loopback host name, IPv4 first; empty when `host` is another machine.

    Names are not resolved: "localhost" is known (RFC 6761), and a resolver may be slow.
    """
    if host == "localhost" or host.endswith(".localhost"):
        return ("127.0.0.1", "::1")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ()
    if address.is_unspecified:
        return ("127.0.0.1",) if address.version == 4 else ("::1",)
    return (host,) if address.is_loopback else ()


async def find_foreign_listener(proxy: str) -> str | None:
    """Why the port of a loopback `proxy` cannot be used, in words; None when nothing listens there."""
    port = port_of(proxy)
    addresses = loopback_addresses(urlsplit(proxy).hostname or "")
    deadline = time.monotonic() + RELEASE_PATIENCE
    while True:
        taken = [address for address in addresses if await _listens(address, port)]
        if not taken:
            return None
        if time.monotonic() >= deadline:
            return f"port {port} is already in use by another process{await _who_listens(port)}"
        await asyncio.sleep(LOOK_AGAIN)


async def _listens(address: str, port: int) -> bool:
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            connected = await connect(address, port)
    except TimeoutError:
        # It may have been this event loop that came too late; a thread waits in the system alone.
        return await asyncio.to_thread(_accepts_or_is_silent, address, port)
    except OSError:
        return False
    connected.close()
    return True


def _accepts_or_is_silent(address: str, port: int) -> bool:
    """Whether a connection is not refused; one without an answer meets a full backlog: somebody is busy."""
    with _socket(address) as connection:
        connection.settimeout(ANSWER_TIMEOUT)
        try:
            connection.connect((address, port))
            _refuse_itself(connection)
        except TimeoutError:
            return True
        except OSError:
            return False
        return True


async def connect(address: str, port: int) -> socket.socket:
    """A non-blocking connection to this numeric address; raises OSError."""
    connection = _socket(address)
    try:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, (address, port))
        _refuse_itself(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _socket(address: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)


def _refuse_itself(connection: socket.socket) -> None:
    """Raises ConnectionRefusedError when the connection reaches itself.

    One to a port of the ephemeral range where nobody listens can come out of that same port, and would keep
    it from its owner: that counts as refused and leaves no trace.
    """
    if connection.getsockname() == connection.getpeername():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise ConnectionRefusedError("connected to itself")


async def _who_listens(port: int) -> str:
    try:
        return await asyncio.to_thread(_listener, port)
    except (OSError, RuntimeError):  # no descriptor or no thread left to look with
        return ""


def _listener(port: int) -> str:
    """Who listens on `port`, as far as the system tells us: " (pid 12, name)" or ""."""
    try:
        for found in psutil.net_connections("tcp"):
            if found.status == psutil.CONN_LISTEN and found.laddr and found.laddr.port == port and found.pid:
                return f" (pid {found.pid}, {psutil.Process(found.pid).name()})"
    except psutil.Error:
        return ""
    return ""
