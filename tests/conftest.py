"""What tests share: a long run and a short one, ports, event loops, a listener on loopback, HTTP by hand."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import socket
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    ExitStack,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvloop
from hypothesis import HealthCheck, settings

from swapyard.api.services import Build
from swapyard.app.options import Address, Options
from swapyard.app.program import Program
from swapyard.config.load import load
from swapyard.errors import ClientDisconnected
from swapyard.web import server
from swapyard.web.server import Listener, Request, bind
from swapyard.web.wire import Wire

SERVER = (
    f"{sys.executable} {Path(__file__).parent / 'scripted_server.py'} --port ${{PORT}} --name ${{MODEL_ID}}"
)

Incoming = Callable[..., Request]
Run = Callable[[Coroutine[Any, Any, None]], None]
Serving = Callable[[server.Handler], AbstractAsyncContextManager[int]]
Answer = tuple[int, dict[str, str], bytes]
ReadAnswer = Callable[..., Coroutine[Any, Any, Answer]]
Ask = Callable[..., Coroutine[Any, Any, Answer]]


@dataclass(frozen=True)
class Asked:
    """A request as an upstream gets it; header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Handler = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]
Upstream = Callable[[Handler], AbstractAsyncContextManager[int]]
Yard = Callable[..., AbstractAsyncContextManager[tuple[int, Program]]]
LoopFactory = Callable[[], asyncio.AbstractEventLoop]
HoldPorts = Callable[[int], AbstractContextManager[int]]

LOOPS: dict[str, LoopFactory] = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}

# Never a limit in time: the machine may be busy.
TIMELESS = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("short", TIMELESS, max_examples=50)
settings.register_profile("long", TIMELESS, max_examples=1000)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--long", action="store_true", help="more examples for each property, and asyncio beside uvloop"
    )


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("long" if config.getoption("--long") else "short")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "loop_factory" in metafunc.fixturenames:
        names = list(LOOPS) if metafunc.config.getoption("--long") else ["uvloop"]
        metafunc.parametrize("loop_factory", [LOOPS[name] for name in names], ids=names)


@pytest.fixture
def run(loop_factory: LoopFactory) -> Run:
    """Run a test's coroutine in half a minute; it may leave neither tasks nor descriptors behind.

    It runs on uvloop, as the program does, and with --long on asyncio as well.
    """

    async def limited(main: Coroutine[Any, Any, None]) -> None:
        async with asyncio.timeout(30):
            await main
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:
            _, left = await asyncio.wait(left, timeout=5)
        assert not left

    def run_it(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            # A process's first loop of a kind keeps descriptors for good.
            runner.run(asyncio.sleep(0))
        before = _descriptors()
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(limited(main))
        gc.collect()
        assert _descriptors() == before

    return run_it


def _descriptors() -> list[str]:
    """What the open descriptors lead to; which of them have which number does not matter."""
    if sys.platform != "linux":
        return []
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{number}").partition(":")[0])
        except FileNotFoundError:  # the listing's own
            continue
    return sorted(found)


@pytest.fixture
def serving() -> Serving:
    """`async with serving(handler) as port`: the real listener with this handler behind it."""

    @asynccontextmanager
    async def serve(handler: server.Handler) -> AsyncIterator[int]:
        listener = Listener(handler, lambda _request, _reply, _seconds: None)
        sockets = bind("127.0.0.1", 0)
        port: int = sockets[0].getsockname()[1]
        await listener.listen(sockets)
        try:
            yield port
        finally:
            listener.close()
            try:
                # Whoever has answered may still have something to tidy up.
                async with asyncio.timeout(0.2):
                    await listener.drained()
            except TimeoutError:
                pass
            listener.abort()
            await listener.drained()

    return serve


class WithoutSocket(asyncio.Transport):
    """Of a request whose bytes come from the test."""

    def pause_reading(self) -> None:
        return

    def resume_reading(self) -> None:
        return


@pytest.fixture
def incoming() -> Incoming:
    """`incoming(b"one", b"two")`: a request whose body comes in these pieces, one with each turn of the loop.

    None stands for the client's leaving, and `length` for what was announced.
    """

    def request(*parts: bytes | None, length: int | None = None) -> Request:
        loop = asyncio.get_running_loop()
        made = Request(Wire(WithoutSocket(), loop), "POST", b"/", "/", b"", [], {}, length=length)
        left = list(parts)

        def come() -> None:
            part = left.pop(0)
            if part is None:
                made.end(ClientDisconnected())
            else:
                made.feed(part)
                if left:
                    loop.call_soon(come)
                else:
                    made.feed_end()

        come()
        return made

    return request


async def _read_answer(reader: asyncio.StreamReader, *, bodiless: bool = False) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(head[0].split(" ")[1])
    headers: dict[str, str] = {}
    for line in head[1:-2]:
        name, _, value = line.partition(": ")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    if bodiless or status in (204, 304) or status < 200:
        return status, headers, b""
    if "content-length" in headers:
        return status, headers, await reader.readexactly(int(headers["content-length"]))
    if headers.get("transfer-encoding") != "chunked":
        return status, headers, await reader.read()
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        assert await reader.readexactly(2) == b"\r\n"
    assert await reader.readexactly(2) == b"\r\n"
    return status, headers, body


@pytest.fixture
def read_answer() -> ReadAnswer:
    """(status, headers by lower-case name, body) of a stream's next answer; raises when it breaks off."""
    return _read_answer


@pytest.fixture
def ask(read_answer: ReadAnswer) -> Ask:
    """One request over a connection of its own: `ask(port, "GET /health")`, headers and body if wanted."""

    async def once(
        port: int, line: str, headers: dict[str, str] | None = None, body: bytes | str = b""
    ) -> Answer:
        data = body.encode() if isinstance(body, str) else body
        fields = {"Host": "test", **(headers or {})}
        if data:
            fields["Content-Length"] = str(len(data))
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(f"{line} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + data)
            return await read_answer(reader, bodiless=line.startswith("HEAD "))
        finally:
            writer.close()
            await writer.wait_closed()

    return once


@pytest.fixture
def raw() -> Callable[[int, bytes], Coroutine[Any, Any, bytes]]:
    """Send these bytes over a connection of their own; everything that comes back until it ends or breaks."""

    async def exchange(port: int, data: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        got = b""
        try:
            while chunk := await reader.read(100_000):
                got += chunk
        except ConnectionError:
            pass
        writer.transport.abort()
        return got

    return exchange


async def _read_request(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
    body = b""
    if headers.get("transfer-encoding") == "chunked":
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
    else:
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Asked(method, target, headers, body)


@pytest.fixture
def upstream() -> Upstream:
    """`async with upstream(handler) as port`: a server in this loop whose answers `handler` writes by hand.

    When the client or the test is gone the handler is cancelled; it may close the connection itself.
    """

    @asynccontextmanager
    async def serve(handler: Handler) -> AsyncIterator[int]:
        tasks: set[asyncio.Task[None]] = set()

        async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            try:
                while not writer.is_closing():
                    await _answer_one(handler, reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass
            finally:
                tasks.discard(task)
                writer.transport.abort()

        server = await asyncio.start_server(converse, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for task in list(tasks):
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)

    return serve


async def _answer_one(handler: Handler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    asked = await _read_request(reader)
    answering = asyncio.ensure_future(handler(asked, writer))
    leaving = asyncio.ensure_future(_gone(reader))
    try:
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            await answering
        else:
            raise ConnectionResetError
    finally:
        for task in (answering, leaving):
            task.cancel()
        await asyncio.gather(answering, leaving, return_exceptions=True)


async def _gone(reader: asyncio.StreamReader) -> None:
    """Return when the other side has closed: nobody here sends more before there was an answer."""
    await reader.read(1)


MODEL_PORTS = 8
"""How many models with `${PORT}` a configuration of these tests may have."""


@contextmanager
def hold_ports(count: int) -> Iterator[int]:
    """Keep `count` consecutive ports from everybody who looks for free ones; yields the first.

    A socket that is bound to a port and does not listen holds it: connections are refused, and the system
    gives the port to nobody.  Binding fails where somebody else holds or uses the port.  From then on the
    holder shares its address (SO_REUSEADDR), so that a server that is told the port can listen there.
    The ports lie below those that Linux gives to connections (ip_local_port_range begins at 32768).
    """
    while True:
        first = random.randrange(10_000, 32_768 - count)
        with ExitStack() as held:
            try:
                for port in range(first, first + count):
                    held.enter_context(_bound(port)).setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            except OSError:
                continue
            yield first
            return


def _bound(port: int) -> socket.socket:
    """A socket with this port on all addresses of both families; raises OSError."""
    sock = socket.socket(socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET)
    try:
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("", port))
    except OSError:
        sock.close()
        raise
    return sock


@pytest.fixture(scope="session")
def held_ports() -> HoldPorts:
    """`with held_ports(count) as first`: consecutive ports that nobody else gets while the block runs."""
    return hold_ports


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port on which nobody listens, and which nobody else gets during this test."""
    with hold_ports(1) as port:
        yield port


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Yard:
    """`async with yard(configuration) as (port, program)`: the whole program, in this loop.

    In the configuration `@MODEL@` is the command of a scripted server (see scripted_server.py), to which
    `--gate FILE` may be added.
    """
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    file = tmp_path / "config.yaml"

    @asynccontextmanager
    async def running(configuration: str) -> AsyncIterator[tuple[int, Program]]:
        sockets = bind("127.0.0.1", 0)
        port: int = sockets[0].getsockname()[1]
        with hold_ports(MODEL_PORTS) as start_port:
            models = configuration.replace("@MODEL@", SERVER)
            file.write_text(f"logToStdout: none\nstartPort: {start_port}\n{models}", encoding="utf-8")
            options = Options(file, None, Address("127.0.0.1", port))
            program = Program(options, load(file, None, os.environ), Build("0"))
            ready = asyncio.Event()
            task = asyncio.create_task(program.run(sockets, ready.set), name="program")
            try:
                async with asyncio.timeout(20):
                    await ready.wait()
                yield port, program
            finally:
                program.stop()
                assert await task == 0
                # Nobody waits for the look at the hardware, but its files would be taken for ours.
                for thread in [thread for thread in threading.enumerate() if thread.name == "hardware"]:
                    await asyncio.to_thread(thread.join, 20)

    return running
