"""Scenarios of the specification that need the whole program, under their numbers."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from swapyard.app.program import Program
from swapyard.bus import Subscription
from swapyard.notices import ConfigReloaded, InflightChanged, LogWritten, StateChanged, WaitingChanged
from swapyard.observe.logs import Source
from swapyard.types import ModelId, State

Run = Callable[[Coroutine[Any, Any, None]], None]
Answer = tuple[int, dict[str, str], bytes]
Ask = Callable[..., Coroutine[Any, Any, Answer]]
Yard = Callable[[str], AbstractAsyncContextManager[tuple[int, Program]]]
Upstream = Callable[[Callable[..., Any]], AbstractAsyncContextManager[int]]
ReadAnswer = Callable[..., Coroutine[Any, Any, Answer]]

JSON = {"Content-Type": "application/json"}
CHAT = "POST /v1/chat/completions"
M, B = ModelId("m"), ModelId("b")
FIFO = "routing: {scheduler: {use: fifo}}"
TOGETHER = "groups: {all: {swap: false, members: [m, b]}}"
WEBSOCKETS = f"{sys.executable} {Path(__file__).parents[1] / 'end_to_end/servers/websocket_echo.py'}"


def body(model: str = "m", *, stream: bool = False) -> bytes:
    return json.dumps({"model": model, "stream": stream}).encode()


def request(what: str, model: str = "m", *, more: str = "") -> bytes:
    """A streaming request as bytes; the connection is kept unless `more` says otherwise."""
    data = body(model, stream=True)
    head = (
        f"{CHAT} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n"
        f"x-do: {what}\r\n{more}content-length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


def gated(tmp_path: Path, more: str = "") -> str:
    """`m` becomes ready when the file `gate` is there, `b` at once."""
    return f"{more}\nmodels: {{m: {{cmd: '@MODEL@ --gate {tmp_path}/gate'}}, b: {{cmd: '@MODEL@'}}}}"


async def reached(changes: Subscription, model: ModelId, state: State) -> list[tuple[str, State]]:
    """Wait for this change of state; all changes up to it."""
    seen = []
    while True:
        change = await changes.next()
        assert isinstance(change, StateChanged)
        seen.append((str(change.model), change.new))
        if seen[-1] == (model, state):
            return seen


async def no_longer_listening(port: int) -> None:
    """Wait until the program has begun to shut down."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            return
        writer.transport.abort()
        await asyncio.sleep(0)


# Scheduling


def test_s13_the_priority_in_force_is_recorded_with_the_request(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        scheduler = "{scheduler: {use: fifo, settings: {fifo: {priority: {m: 7}}}}}"
        async with yard(f"models: {{m: {{cmd: '@MODEL@'}}}}\nrouting: {scheduler}") as (port, program):
            assert (await ask(port, CHAT, JSON, body()))[0] == 200
            await program.observers.recorder.flushed()
            (row,) = json.loads((await ask(port, "GET /api/metrics/activity"))[2])["data"]
            assert row["metadata"]["fifo_priority"] == "7"

    run(main())


# Races


def test_r17_text_about_one_load_slows_nobody_else_down(
    run: Run, yard: Yard, tmp_path: Path, ask: Ask
) -> None:
    async def main() -> None:
        async with yard(gated(tmp_path, f"sendLoadingState: true\n{TOGETHER}")) as (port, _):
            assert (await ask(port, CHAT, JSON, body("b")))[0] == 200
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request("stream"))
            await reader.readuntil(b"reasoning_content")
            begun = time.monotonic()
            for _ in range(10):
                assert (await ask(port, CHAT, JSON, body("b")))[0] == 200
            # The text as a whole takes several seconds, and m is not ready yet.
            assert time.monotonic() - begun < 1
            assert b"[DONE]" not in await reader.read(1_000_000)
            writer.transport.abort()

    run(main())


def test_r19_no_text_about_a_load_is_written_after_the_answer_has_begun(
    run: Run, yard: Yard, tmp_path: Path, read_answer: ReadAnswer
) -> None:
    async def main() -> None:
        async with yard(gated(tmp_path, "sendLoadingState: true")) as (port, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request("stream"))
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            (tmp_path / "gate").touch()
            first = await reader.readuntil(b"\r\n0\r\n\r\n")
            answer = first.partition(b'data: {"n":0}')[2]
            assert b"chatcmpl-loading" in first and b"[DONE]" in answer
            assert b"chatcmpl-loading" not in answer
            # The connection is used again, and nothing of the text gets between.
            writer.write(request("stream"))
            status, _, second = await read_answer(reader)
            assert status == 200 and second.startswith(b'data: {"n":0}') and second.endswith(b"[DONE]\n\n")
            writer.transport.abort()

    run(main())


def test_r26_what_is_listed_during_swaps_is_whole_and_true(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard("models: {m: {cmd: '@MODEL@'}, b: {cmd: '@MODEL@'}}") as (port, _):

            async def running() -> dict[str, str]:
                rows = json.loads((await ask(port, "GET /running"))[2])["running"]
                return {row["model"]: row["state"] for row in rows}

            async def look() -> None:
                while True:
                    seen = await running()
                    assert set(seen.values()) <= {"starting", "ready", "stopping"}
                    assert len(seen) < 2, "the models exclude one another"

            looking = asyncio.create_task(look())
            for model in "mbmb":
                assert (await ask(port, CHAT, JSON, body(model)))[0] == 200
                # Whoever has got an answer finds it confirmed: nothing is listed from a memory.
                assert await running() == {model: "ready"}
            assert not looking.done()
            looking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await looking

    run(main())


def test_r27_reloads_at_once_follow_one_another_and_no_port_is_given_twice(
    run: Run, yard: Yard, ask: Ask, tmp_path: Path
) -> None:
    async def main() -> None:
        file = tmp_path / "config.yaml"
        async with yard(f"models: {{m: {{cmd: '@MODEL@'}}, b: {{cmd: '@MODEL@'}}}}\n{TOGETHER}") as (
            port,
            program,
        ):
            for model in "mb":
                assert (await ask(port, CHAT, JSON, body(model)))[0] == 200
            pid = program.fleet.status(M).pid
            # b changes, and a third model comes before the others in the order of the file.
            old = file.read_text(encoding="utf-8")
            third = old.partition("cmd: '")[2].partition("'")[0]
            text = old.replace("models: {", f"models: {{new: {{cmd: '{third}'}}, ")
            text = text.replace("b: {", "b: {env: [A=1], ").replace("[m, b]", "[new, m, b]")
            file.write_text(text, encoding="utf-8")
            with program.bus.subscribe(ConfigReloaded) as reloads:
                outcomes = await asyncio.gather(*(program.reloader.reload() for _ in range(3)))
                assert await reloads.next() == ConfigReloaded(None)
            assert [outcome.problems for outcome in outcomes] == [(), (), ()]
            for model in ("new", "b", "m"):
                _, _, answer = await ask(port, CHAT, JSON, body(model))
                assert json.loads(answer)["model"] == model
            # What did not change goes on as it was.
            assert program.fleet.status(M).pid == pid
            ports = [row["port"] for row in json.loads((await ask(port, "GET /api/models"))[2])]
            assert len(set(ports)) == 3

    run(main())


def test_r29_an_operator_ends_a_request_that_stands_in_line(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard("models: {m: {cmd: '@MODEL@'}, b: {cmd: '@MODEL@'}}") as (port, program):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request("stream-hang"))
            await reader.readuntil(b'data: {"n":0}')
            with program.bus.subscribe(WaitingChanged) as changes:
                queued = asyncio.create_task(ask(port, CHAT, JSON, body("b")))
                change = await changes.next()
                while not (isinstance(change, WaitingChanged) and change.model == B):
                    change = await changes.next()
                assert change.count == 1
            rows = json.loads((await ask(port, "GET /api/inflight"))[2])["requests"]
            (row,) = [row for row in rows if row["model"] == "b"]
            assert (await ask(port, f"POST /api/inflight/{row['id']}/cancel"))[0] == 200
            status, _, answer = await queued
            assert (status, json.loads(answer)["error"]["code"]) == (503, "cancelled")
            assert program.dispatcher.scheduler.waiting(B) == 0
            assert program.fleet.status(B).start == 0
            writer.transport.abort()

    run(main())


# Processes


def test_p01_nothing_is_relayed_to_a_model_that_is_not_ready(
    run: Run, yard: Yard, ask: Ask, tmp_path: Path
) -> None:
    """A relay to a stopped process cannot be asked for, since relaying takes a lease: so none comes early."""

    async def main() -> None:
        gate = tmp_path / "gate"
        async with yard(gated(tmp_path)) as (port, program):
            # Before its start, and again after its stop.
            for _ in range(2):
                with program.bus.subscribe(StateChanged) as changes:
                    asking = [asyncio.create_task(ask(port, CHAT, JSON, body()))]
                    await reached(changes, M, State.STARTING)
                    asking += [asyncio.create_task(ask(port, CHAT, JSON, body())) for _ in range(2)]
                    # Time for the server to answer its first probes, and for a request to come too early.
                    await asyncio.sleep(0.5)
                    gate.touch()
                    assert [status for status, _, _ in await asyncio.gather(*asking)] == [200, 200, 200]
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(request("stream-hang"))
                await reader.readuntil(b'data: {"n":0}')
                writer.transport.abort()
                assert json.loads((await ask(port, "GET /upstream/m/journal"))[2]) == ["left"]
                await program.dispatcher.unload([M])
                gate.unlink()

    run(main())


def websockets(more: str = "") -> str:
    """`m` speaks WebSocket, which does not count as use of it; `b` excludes it."""
    spoken = f"{{cmd: '{WEBSOCKETS} ${{PORT}}', compat: {{ignoreWebsockets: true}}{more}}}"
    return f"models: {{m: {spoken}, b: {{cmd: '@MODEL@'}}}}"


def dial(port: int) -> connect:
    return connect(f"ws://127.0.0.1:{port}/upstream/m/v1/realtime", proxy=None, compression=None)


async def speaks(client: ClientConnection) -> None:
    await client.send("hello")
    assert await client.recv() == "hello"


def test_p27_an_ignored_websocket_does_not_keep_its_model_from_being_idle(
    run: Run, yard: Yard, ask: Ask
) -> None:
    async def main() -> None:
        async with yard(websockets(", ttl: 1")) as (port, program):
            with program.bus.subscribe(StateChanged) as changes:
                assert (await ask(port, "POST /api/models/load/m"))[0] == 200
                async with dial(port) as client:
                    await speaks(client)
                    await reached(changes, M, State.STOPPED)
                    # Its peer is gone, and so it ends.
                    await client.wait_closed()
            assert program.dispatcher.scheduler.in_flight(M) == 0

    run(main())


def test_p34_an_evictee_that_ignores_sigterm_has_its_own_grace_and_no_more(
    run: Run, yard: Yard, ask: Ask
) -> None:
    async def main() -> None:
        stubborn = "sh -c \"trap '''' TERM; echo deaf; exec sleep 600\" sh ${PORT}"
        models = f"m: {{cmd: '{stubborn}', checkEndpoint: none, unloadTimeout: 1}}, b: {{cmd: '@MODEL@'}}"
        async with yard(f"healthCheckTimeout: 15\nmodels: {{{models}}}") as (port, program):
            with program.bus.subscribe(LogWritten) as written:
                assert (await ask(port, "POST /api/models/load/m"))[0] == 200
                while b"deaf" not in program.logs.history(Source.UPSTREAM):
                    await written.next()
            with program.bus.subscribe(StateChanged) as changes:
                begun = time.monotonic()
                assert (await ask(port, CHAT, JSON, body("b")))[0] == 200
                assert time.monotonic() - begun < 8
                assert await reached(changes, B, State.READY) == [
                    ("m", State.STOPPING),
                    ("m", State.STOPPED),
                    ("b", State.STARTING),
                    ("b", State.READY),
                ]
            assert b"sending SIGKILL" in program.logs.history(Source.PROXY)

    run(main())


def test_p40_a_stop_ends_the_requests_in_flight_and_their_leases(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard(f"models: {{m: {{cmd: '@MODEL@'}}}}\n{FIFO}") as (port, program):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request("stream-hang"))
            await reader.readuntil(b'data: {"n":0}')
            with program.bus.subscribe(InflightChanged) as moves:
                unanswered = asyncio.create_task(ask(port, CHAT, {**JSON, "x-do": "hang"}, body()))
                while program.dispatcher.scheduler.in_flight(M) < 2:
                    await moves.next()
            with program.bus.subscribe(StateChanged) as changes:
                assert (await ask(port, "POST /api/models/unload/m"))[0] == 200
                await reached(changes, M, State.STOPPED)
            status, _, answer = await unanswered
            assert (status, json.loads(answer)["error"]["code"]) == (503, "model_unloaded")
            rest = await reader.read()
            assert b'"code":"model_unloaded"' in rest and not rest.endswith(b"0\r\n\r\n")
            assert program.dispatcher.scheduler.in_flight(M) == 0
            writer.transport.abort()

    run(main())


# Peers, websockets, doors


def two_events(more: asyncio.Event, left: asyncio.Event) -> Callable[[Any, asyncio.StreamWriter], Any]:
    """An upstream that sends its second event when `more` is set, and tells when it is left before."""

    async def answer(_: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: 1\n\n")
        try:
            await more.wait()
        except asyncio.CancelledError:
            left.set()
            raise
        writer.write(b"data: 2\n\n")
        writer.close()

    return answer


@pytest.mark.parametrize("hurried", [False, True])
def test_e23_the_end_waits_for_a_request_to_a_peer_unless_it_is_hurried(
    run: Run, yard: Yard, upstream: Upstream, hurried: bool
) -> None:
    async def main() -> None:
        more, left = asyncio.Event(), asyncio.Event()
        async with upstream(two_events(more, left)) as up:
            configuration = f"peers: {{p: {{proxy: 'http://127.0.0.1:{up}', models: [m]}}}}"
            async with yard(configuration) as (port, _):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(request("", more="connection: close\r\n"))
                await reader.readuntil(b"data: 1")
                signal.raise_signal(signal.SIGTERM)
                await no_longer_listening(port)
                if hurried:
                    signal.raise_signal(signal.SIGTERM)
                    await left.wait()
                else:
                    more.set()
                rest = await reader.read()
                assert rest.endswith(b"data: 2\n\n\r\n0\r\n\r\n") is not hurried
                writer.transport.abort()

    run(main())


def test_e28_an_ignored_websocket_starts_nothing_and_does_not_wait_for_a_load(
    run: Run, yard: Yard, ask: Ask, tmp_path: Path
) -> None:
    async def main() -> None:
        ignoring = gated(tmp_path).replace("gate'", "gate', compat: {ignoreWebsockets: true}")
        async with yard(ignoring) as (port, program):
            with pytest.raises(InvalidStatus) as refused:
                await dial(port)
            assert refused.value.response.status_code == 409
            assert program.fleet.status(M).start == 0
            with program.bus.subscribe(StateChanged) as changes:
                loading = asyncio.create_task(ask(port, CHAT, JSON, body()))
                await reached(changes, M, State.STARTING)
            with pytest.raises(InvalidStatus) as refused:
                await dial(port)
            assert refused.value.response.status_code == 409
            (tmp_path / "gate").touch()
            assert (await loading)[0] == 200
            assert program.fleet.status(M).start == 1

    run(main())


def test_e29_an_ignored_websocket_does_not_hold_up_an_eviction(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard(websockets()) as (port, program):
            assert (await ask(port, "POST /api/models/load/m"))[0] == 200
            async with dial(port) as client:
                await speaks(client)
                assert (await ask(port, CHAT, JSON, body("b")))[0] == 200
                assert program.fleet.status(M).state is State.STOPPED
                await client.wait_closed()

    run(main())


def test_e30_an_ignored_path_starts_nothing_and_is_served_once_the_model_is_ready(
    run: Run, yard: Yard, ask: Ask
) -> None:
    async def main() -> None:
        async with yard("models: {m: {cmd: '@MODEL@'}}") as (port, program):
            status, _, answer = await ask(port, "GET /upstream/m/x.js")
            assert (status, json.loads(answer)["error"]["code"]) == (409, "conflict")
            assert program.fleet.status(M).start == 0
            assert (await ask(port, CHAT, JSON, body()))[0] == 200
            status, _, answer = await ask(port, "GET /upstream/m/x.js")
            assert (status, json.loads(answer)["target"]) == (200, "/x.js")

    run(main())
