"""What a client gets of an upstream's answer, byte by byte, and what becomes of one that breaks off."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from swapyard.app.program import Program
from swapyard.notices import StateChanged
from swapyard.types import ModelId, State

Run = Callable[[Coroutine[Any, Any, None]], None]
Answer = tuple[int, dict[str, str], bytes]
Ask = Callable[..., Coroutine[Any, Any, Answer]]
Raw = Callable[[int, bytes], Coroutine[Any, Any, bytes]]
Yard = Callable[[str], AbstractAsyncContextManager[tuple[int, Program]]]
Upstream = Callable[[Callable[..., Any]], AbstractAsyncContextManager[int]]

JSON = {"Content-Type": "application/json"}
CHAT = "POST /v1/chat/completions"
LOCAL = "models: {m: {cmd: '@MODEL@'}}"
BODY = b'{"model":"m","stream":true}'


def peer(port: int, more: str = "") -> str:
    return f"peers: {{p: {{proxy: 'http://127.0.0.1:{port}', models: [m]{more}}}}}"


def request(what: str = "", *, body: bytes = BODY, path: str = "/v1/chat/completions") -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\nx-do: {what}\r\n"
        f"connection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def rows(port: int, program: Program, ask: Ask) -> list[dict[str, Any]]:
    await program.observers.recorder.flushed()
    page = json.loads((await ask(port, "GET /api/metrics/activity"))[2])
    found: list[dict[str, Any]] = page["data"]
    return found


async def journal_entry(port: int, ask: Ask) -> str:
    """The first thing that the scripted server noted; waits for it."""
    return str(json.loads((await ask(port, "GET /upstream/m/journal"))[2])[0])


def test_each_event_reaches_the_client_when_the_upstream_sends_it(
    run: Run, yard: Yard, upstream: Upstream
) -> None:
    async def main() -> None:
        more = asyncio.Event()

        async def slowly(_: Any, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
            writer.write(b"data: 1\n\n")
            await more.wait()
            writer.write(b"data: 2\n\n")
            writer.close()

        async with upstream(slowly) as up, yard(peer(up)) as (port, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request())
            assert b"data: 1" in await reader.readuntil(b"data: 1\n\n\r\n")
            more.set()
            assert await reader.read() == b"9\r\ndata: 2\n\n\r\n0\r\n\r\n"
            writer.transport.abort()

    run(main())


def test_headers_of_the_connection_stay_on_it_and_all_others_pass(
    run: Run, yard: Yard, upstream: Upstream, raw: Raw
) -> None:
    async def main() -> None:
        seen: list[Any] = []

        async def answer(asked: Any, writer: asyncio.StreamWriter) -> None:
            seen.append(asked)
            writer.write(
                b"HTTP/1.1 201 Made\r\nDate: yesterday\r\nServer: old\r\n"
                b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
                b"Connection: x-hop\r\nX-Hop: secret\r\nKeep-Alive: timeout=5\r\nX-Request-Id: theirs\r\n"
                b"Content-Length: 2\r\n\r\nok"
            )

        async with upstream(answer) as up, yard(peer(up)) as (port, _):
            sent = request().replace(
                b"\r\n\r\n", b"\r\nx-mine: yes\r\nte: gzip\r\nx-forwarded-for: 1.2.3.4\r\n\r\n", 1
            )
            got = await raw(port, sent)
        head, _, body = got.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        assert lines[0] == b"HTTP/1.1 201 Created" and body == b"ok"
        assert {b"date: yesterday", b"server: old", b"set-cookie: a=1", b"set-cookie: b=2"} <= set(lines)
        assert b"x-hop" not in got and b"keep-alive" not in got
        assert [line for line in lines if line.startswith(b"x-request-id")] == [b"x-request-id: theirs"]
        assert any(line.startswith(b"x-swapyard-request-id: ") for line in lines)
        (asked,) = seen
        assert asked.headers["x-mine"] == "yes" and asked.headers["host"] == f"127.0.0.1:{up}"
        assert not {"te", "connection", "x-forwarded-for"} & asked.headers.keys()
        assert asked.body == BODY

    run(main())


@pytest.mark.parametrize("status", [200, 204, 304, 418, 500, 999])
def test_any_status_is_passed_on_and_the_connection_goes_on(
    run: Run, yard: Yard, upstream: Upstream, read_answer: Any, status: int
) -> None:
    async def main() -> None:
        async def answer(_: Any, writer: asyncio.StreamWriter) -> None:
            body = b"" if status in (204, 304) else b"four"
            length = b"" if status == 204 else b"content-length: 4\r\n"
            writer.write(b"HTTP/1.1 %d X\r\n%b\r\n%b" % (status, length, body))

        async with upstream(answer) as up, yard(peer(up)) as (port, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for _ in range(2):
                writer.write(request().replace(b"connection: close\r\n", b""))
                got, headers, body = await read_answer(reader)
                assert (got, body) == (status, b"" if status in (204, 304) else b"four")
                assert headers.get("content-length") == (None if status == 204 else "4")
            writer.transport.abort()

    run(main())


def test_head_is_relayed_and_its_answer_has_no_body(
    run: Run, yard: Yard, upstream: Upstream, ask: Ask
) -> None:
    async def main() -> None:
        methods = []

        async def answer(asked: Any, writer: asyncio.StreamWriter) -> None:
            methods.append(asked.method)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 77\r\n\r\n")

        async with upstream(answer) as up, yard(peer(up)) as (port, _):
            for path in ("/props?model=m", "/upstream/m/index.html"):
                status, headers, _ = await ask(port, f"HEAD {path}")
                assert (status, headers["content-length"]) == (200, "77")
        assert methods == ["HEAD", "HEAD"]

    run(main())


@pytest.mark.parametrize("configuration", ["local", "peer"])
def test_a_client_that_leaves_takes_the_upstreams_work_with_it_and_is_recorded(
    run: Run, yard: Yard, upstream: Upstream, ask: Ask, configuration: str
) -> None:
    """P-42."""

    async def main() -> None:
        left = asyncio.Event()

        async def endless(_: Any, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: 1\n\n")
            try:
                await asyncio.Event().wait()
            finally:
                left.set()

        async with upstream(endless) as up:
            async with yard(LOCAL if configuration == "local" else peer(up)) as (port, program):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(request("stream-hang"))
                await reader.readuntil(b"data: ")
                writer.transport.abort()
                if configuration == "peer":
                    await left.wait()
                else:
                    await journal_entry(port, ask)
                    assert program.dispatcher.scheduler.in_flight(ModelId("m")) == 0
                (row,) = await rows(port, program, ask)
                assert (row["resp_status_code"], row["error_msg"]) == (499, "client disconnected")

    run(main())


def test_a_client_that_does_not_read_stops_the_upstream(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard(LOCAL) as (port, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request("flood"))
            await reader.readline()
            await asyncio.sleep(1)
            writer.transport.abort()
            entry = await journal_entry(port, ask)
            # Four socket buffers and what we hold ourselves; without back-pressure it would be gigabytes.
            assert 0 < int(entry.rpartition(" ")[2]) < 60_000_000

    run(main())


def event_error(got: bytes) -> dict[str, Any]:
    (line,) = [line for line in got.split(b"\n") if line.startswith(b'data: {"src"')]
    error: dict[str, Any] = json.loads(line[len(b"data: ") :])["error"]
    return error


@pytest.mark.parametrize("configuration", ["local", "peer"])
@pytest.mark.parametrize("what", ["break", "break-between"])
def test_a_stream_that_breaks_off_ends_with_an_error_event_and_without_a_proper_end(
    run: Run, yard: Yard, upstream: Upstream, raw: Raw, ask: Ask, what: str, configuration: str
) -> None:
    begun = b'data: {"n":0}\n\n' + (b'data: {"n' if what == "break" else b"")

    async def main() -> None:
        async def breaking(_: Any, writer: asyncio.StreamWriter) -> None:
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            writer.write(head + b"%x\r\n%b\r\n" % (len(begun), begun))
            await asyncio.sleep(0.05)
            writer.close()

        async with upstream(breaking) as up:
            async with yard(LOCAL if configuration == "local" else peer(up)) as (port, program):
                got = await raw(port, request(what))
                (row,) = await rows(port, program, ask)
        assert begun in got
        assert event_error(got)["code"] == "bad_gateway"
        # The error is an event of its own, whatever the upstream left unfinished.
        assert b'\n\ndata: {"src"' in got or b'\r\ndata: {"src"' in got
        assert not got.endswith(b"0\r\n\r\n") and b"[DONE]" not in got
        assert "broke off" in row["error_msg"]

    run(main())


@pytest.mark.parametrize("configuration", ["local", "peer"])
def test_a_body_that_breaks_off_is_cut_without_a_word_of_ours(
    run: Run, yard: Yard, upstream: Upstream, raw: Raw, configuration: str
) -> None:
    async def main() -> None:
        async def breaking(_: Any, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nseven b")
            writer.close()

        async with upstream(breaking) as up:
            async with yard(LOCAL if configuration == "local" else peer(up)) as (port, _):
                got = await raw(port, request("break-length"))
        assert got.endswith(b"\r\n\r\nseven b")

    run(main())


def test_an_upstream_that_closes_unanswered_is_a_bad_gateway_and_a_peer_is_named(
    run: Run, yard: Yard, upstream: Upstream, ask: Ask
) -> None:
    async def main() -> None:
        async def closing(_: Any, writer: asyncio.StreamWriter) -> None:
            writer.close()

        async with upstream(closing) as up, yard(f"{LOCAL}\n{peer(up)}".replace("[m]", "[far]")) as (port, _):
            status, headers, body = await ask(port, CHAT, {**JSON, "x-do": "drop"}, BODY)
            assert (status, headers["content-type"]) == (502, "application/json")
            assert json.loads(body)["error"]["code"] == "bad_gateway"
            status, _, body = await ask(port, CHAT, JSON, b'{"model":"far"}')
            assert status == 502
            assert json.loads(body)["error"]["message"].startswith("peer proxy error: p: 127.0.0.1:")

    run(main())


def test_a_peer_that_does_not_answer_in_time_is_a_gateway_timeout(
    run: Run, yard: Yard, upstream: Upstream, ask: Ask
) -> None:
    async def main() -> None:
        async def never(_: Any, __: asyncio.StreamWriter) -> None:
            await asyncio.Event().wait()

        more = ", timeouts: {responseHeader: 1}"
        async with upstream(never) as up, yard(peer(up, more)) as (port, _):
            status, _, body = await ask(port, CHAT, JSON, BODY)
            assert (status, json.loads(body)["error"]["code"]) == (504, "gateway_timeout")

    run(main())


def test_a_model_that_dies_while_it_serves_is_a_bad_gateway_and_is_started_again(
    run: Run, yard: Yard, ask: Ask
) -> None:
    async def main() -> None:
        async with yard(LOCAL) as (port, program):
            with program.bus.subscribe(StateChanged) as changes:
                assert (await ask(port, CHAT, {**JSON, "x-do": "die"}, BODY))[0] == 502
                while (await changes.next()).new is not State.STOPPED:  # type: ignore[union-attr]
                    pass
            status, _, body = await ask(port, CHAT, JSON, BODY)
            assert status == 200 and json.loads(body)["model"] == "m"

    run(main())


def test_the_model_gets_the_clients_bytes(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        body = b'{ "model" : "m",\n"x":[1e400,0.10,"\\u00e9\\/"] }'
        async with yard(LOCAL) as (port, _):
            _, _, got = await ask(port, CHAT, JSON, body)
            seen = json.loads(got)
            assert seen["body"].encode("latin-1") == body
            assert seen["headers"]["content-length"] == str(len(body))
            assert seen["headers"]["x-forwarded-for"] == "127.0.0.1"
            assert "accept-encoding" not in seen["headers"]
            _, _, got = await ask(port, "PATCH /upstream/m/a%2Fb?x=%20&y", {}, b"\x00\xff")
            seen = json.loads(got)
            assert (seen["method"], seen["target"]) == ("PATCH", "/a%2Fb?x=%20&y")
            assert seen["body"].encode("latin-1") == b"\x00\xff"

    run(main())


def test_our_own_key_is_not_shown_to_the_model(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard(f"apiKeys: [secret]\n{LOCAL}") as (port, _):
            headers = {**JSON, "Authorization": "Bearer secret", "x-other": "kept"}
            _, _, got = await ask(port, CHAT, headers, BODY)
            seen = json.loads(got)["headers"]
            assert "authorization" not in seen and seen["x-other"] == "kept"

    run(main())


def test_hints_that_come_before_an_answer_are_passed_on(
    run: Run, yard: Yard, upstream: Upstream, raw: Raw
) -> None:
    async def main() -> None:
        async def hinting(_: Any, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

        async with upstream(hinting) as up, yard(peer(up)) as (port, _):
            got = await raw(port, request())
        assert got.startswith(b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\n")

    run(main())
