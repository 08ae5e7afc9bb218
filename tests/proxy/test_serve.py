"""The walk of a request through the data plane: let in, resolved, leased, relayed, recorded."""

from __future__ import annotations

import asyncio
import json
import resource
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

from swapyard.app.program import Program
from swapyard.bus import Subscription
from swapyard.notices import InflightChanged, StateChanged, WaitingChanged
from swapyard.observe.logs import Source
from swapyard.types import ModelId, State

Run = Callable[[Coroutine[Any, Any, None]], None]
Yard = Callable[[str], AbstractAsyncContextManager[tuple[int, Program]]]
Ask = Callable[..., Coroutine[Any, Any, tuple[int, dict[str, str], bytes]]]
Upstream = Callable[[Callable[..., Any]], AbstractAsyncContextManager[int]]

JSON = {"Content-Type": "application/json"}
CHAT = "POST /v1/chat/completions"
A, B = ModelId("a"), ModelId("b")
BOTH = "models: {a: {cmd: '@MODEL@'}, b: {cmd: '@MODEL@'}}"


def body(model: str) -> bytes:
    return json.dumps({"model": model}).encode()


def error_of(answer: tuple[int, dict[str, str], bytes]) -> tuple[int, str]:
    return answer[0], json.loads(answer[2])["error"]["code"]


async def rows(port: int, program: Program, ask: Ask) -> list[dict[str, Any]]:
    await program.observers.recorder.flushed()
    found: list[dict[str, Any]] = json.loads((await ask(port, "GET /api/metrics/activity"))[2])["data"]
    return found


async def begun(program: Program, asking: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """The request as a task, when it is listed as under way."""
    with program.bus.subscribe(InflightChanged) as changes:
        task = asyncio.create_task(asking)
        await changes.next()
    return task


def test_models_change_places_when_they_are_asked_for(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard(BOTH) as (port, program):
            for model in ("a", "b", "a"):
                _, _, got = await ask(port, CHAT, JSON, body(model))
                assert json.loads(got)["model"] == model
            states = [program.fleet.status(model) for model in (A, B)]
            assert [(one.state, one.start) for one in states] == [(State.READY, 2), (State.STOPPED, 1)]
            metadata = [row.get("metadata", {}) for row in await rows(port, program, ask)]
            assert "fifo_priority" not in json.dumps(metadata)

    run(main())


def test_every_answer_of_a_model_carries_a_number_to_find_it_by(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard(BOTH) as (port, program):
            _, headers, _ = await ask(port, CHAT, JSON, body("a"))
            (row,) = await rows(port, program, ask)
            details = (await ask(port, f"GET /api/metrics/activity?min_id={row['id']}"))[2]
            assert headers["x-request-id"].encode() in details

    run(main())


def test_a_request_is_refused_in_every_way_there_is_with_its_own_code(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        text = (
            "models: {a: {cmd: '@MODEL@', filters: {setParams: {x: 1}}}, bad: {cmd: '/no/program ${PORT}'}}"
        )
        async with yard(f"requestBodyLimit: 1\n{text}") as (port, _):
            assert error_of(await ask(port, CHAT, JSON, b"{}")) == (404, "not_found")
            assert error_of(await ask(port, CHAT, JSON, body("nobody"))) == (404, "not_found")
            assert error_of(await ask(port, CHAT, JSON, body("bad"))) == (502, "load_failed")
            assert error_of(await ask(port, CHAT, JSON, b'{"model":"a","x":')) == (400, "bad_request")
            assert error_of(await ask(port, "GET /comfyui/")) == (404, "not_found")
            long = b'{"model":"a","x":"' + b"x" * 1_100_000 + b'"}'
            assert error_of(await ask(port, CHAT, JSON, long)) == (413, "request_too_large")

    run(main())


def test_a_model_at_its_limit_refuses_with_retry_after(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard("models: {a: {cmd: '@MODEL@', concurrencyLimit: 1}}") as (port, program):
            task = await begun(program, ask(port, CHAT, {**JSON, "x-do": "hang"}, body("a")))
            for accept in ("*/*", "text/plain", "text/html"):
                status, headers, got = await ask(port, CHAT, {**JSON, "Accept": accept}, body("a"))
                assert (status, headers["retry-after"]) == (429, "1")
                assert json.loads(got)["error"]["message"] == "Too many requests"
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    run(main())


def test_an_anthropic_client_is_refused_in_its_own_shape(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard(BOTH) as (port, _):
            _, _, got = await ask(port, "POST /v1/messages", JSON, body("nobody"))
            assert json.loads(got)["type"] == "error"
            assert json.loads(got)["error"]["type"] == "not_found_error"

    run(main())


def test_the_profile_that_counts_is_the_one_active_when_the_request_came(
    run: Run, yard: Yard, read_answer: Any
) -> None:
    async def main() -> None:
        profiles = "profiles: {day: {pins: {x: a}}, night: {pins: {x: b}}}"
        async with yard(f"{BOTH}\n{profiles}") as (port, program):
            program.activate_profile("day")
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            data = body("x")
            head = f"{CHAT} HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-type: application/json\r\n"
            writer.write(f"{head}content-length: {len(data)}\r\n\r\n".encode())
            # Asked to go on: the request is being read.
            await reader.readuntil(b"100 Continue\r\n\r\n")
            program.activate_profile("night")
            writer.write(data)
            _, _, got = await read_answer(reader)
            assert json.loads(got)["model"] == "a"
            writer.transport.abort()

    run(main())


def test_profile_colon_model_reaches_the_model_without_its_prefix_issue_3(
    run: Run, yard: Yard, ask: Ask
) -> None:
    async def main() -> None:
        async with yard(f"{BOTH}\nprofiles: {{night: {{pins: {{x: b}}}}}}") as (port, program):
            _, _, got = await ask(port, CHAT, JSON, body("night:x"))
            seen = json.loads(got)
            assert (seen["model"], json.loads(seen["body"])) == ("b", {"model": "b"})
            _, _, got = await ask(port, "GET /upstream/night:x/some%2Fpath?q=1")
            assert json.loads(got)["target"] == "/some%2Fpath?q=1" and json.loads(got)["model"] == "b"
            _, _, got = await ask(port, "GET /props?model=night:a")
            assert json.loads(got)["target"] == "/props?model=a"
            assert program.data.profile is None

    run(main())


def test_what_a_selector_holds_is_given_back_however_the_request_ends(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        selector = "selectors: {pool: {strategy: spillover, targets: [a, b]}}"
        group = "routing: {router: {settings: {groups: {all: {swap: false, members: [a, b]}}}}}"
        async with yard(f"{BOTH}\n{selector}\n{group}") as (port, program):
            held = program.data.generation.selectors["pool"]._held
            hanging = [
                await begun(program, ask(port, CHAT, {**JSON, "x-do": "hang"}, body("pool")))
                for _ in range(2)
            ]
            assert held == {"a": 1, "b": 1}
            for task in hanging:
                task.cancel()
            await asyncio.gather(*hanging, return_exceptions=True)
            assert (await ask(port, CHAT, {**JSON, "x-do": "drop"}, body("pool")))[0] == 502
            status, _, got = await ask(port, CHAT, JSON, body("pool"))
            assert status == 200 and json.loads(got)["model"] in ("a", "b")
            assert held == {"a": 0, "b": 0}
            (row, *_) = await rows(port, program, ask)
            assert row["metadata"]["selector"] == "pool"

    run(main())


# /upstream and /comfyui


def test_a_path_that_is_ignored_starts_nothing_and_is_served_when_the_model_is_ready(
    run: Run, yard: Yard, ask: Ask
) -> None:
    """E-30."""

    async def main() -> None:
        async with yard(BOTH) as (port, program):
            status, _, got = await ask(port, "GET /upstream/a/app.js")
            message = "model a is not loaded; path matches upstream.ignorePaths"
            assert (status, json.loads(got)["error"]["message"]) == (409, message)
            assert program.fleet.status(A).start == 0
            await ask(port, "GET /upstream/a/")
            assert (await ask(port, "GET /upstream/a/app.js"))[0] == 200

    run(main())


def test_a_large_upload_to_upstream_is_streamed_and_not_held(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard(BOTH) as (port, _):
            data = b"x" * 3_000_000
            _, _, got = await ask(port, "POST /upstream/a/upload", {}, data)
            seen = json.loads(got)
            assert len(seen["body"]) == len(data) and seen["headers"]["content-length"] == str(len(data))

    run(main())


def test_a_metered_path_below_upstream_is_recorded_as_itself(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard(BOTH) as (port, program):
            await ask(port, "POST /upstream/a/v1/chat/completions", JSON, b'{"model":"whatever"}')
            await ask(port, "POST /upstream/a/v1/other", JSON, b"{}")
            await ask(port, "GET /upstream/a/props")
            (row,) = await rows(port, program, ask)
            assert (row["model"], row["req_path"]) == ("a", "/v1/chat/completions")

    run(main())


def test_comfyui_is_started_by_its_root_alone(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard("models: {comfyui_auto: {cmd: '@MODEL@'}}") as (port, program):
            status, _, got = await ask(port, "GET /comfyui/api/queue")
            message = "model comfyui_auto is not loaded; only /comfyui/ can start it"
            assert (status, json.loads(got)["error"]["message"]) == (409, message)
            _, _, got = await ask(port, "GET /comfyui/?x=1")
            assert json.loads(got)["target"] == "/?x=1"
            _, _, got = await ask(port, "GET /comfyui/api/a%2Fb")
            assert json.loads(got)["target"] == "/api/a%2Fb"
            assert await rows(port, program, ask) == []

    run(main())


# Leaving and ending


async def of(changes: Subscription, model: ModelId) -> WaitingChanged:
    """The next notice of this model's line."""
    while True:
        notice = await changes.next()
        assert isinstance(notice, WaitingChanged)
        if notice.model == model:
            return notice


def test_a_client_that_leaves_the_line_leaves_nothing_behind(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard(BOTH) as (port, program):
            blocker = await begun(program, ask(port, CHAT, {**JSON, "x-do": "hang"}, body("a")))
            with program.bus.subscribe(WaitingChanged) as changes:
                waiting = asyncio.create_task(ask(port, CHAT, JSON, body("b")))
                assert (await of(changes, B)).count == 1
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
                assert await of(changes, B) == WaitingChanged(B, 0, "")
            blocker.cancel()
            await asyncio.gather(blocker, return_exceptions=True)
            assert (await ask(port, CHAT, JSON, body("a")))[0] == 200
            assert program.fleet.status(B).start == 0
            statuses = [row["resp_status_code"] for row in await rows(port, program, ask)]
            assert statuses == [200, 499, 499]

    run(main())


def test_a_shutdown_refuses_who_waits_and_lets_end_who_is_served(
    run: Run, yard: Yard, ask: Ask, tmp_path: Path
) -> None:
    async def main() -> None:
        text = f"models: {{a: {{cmd: '@MODEL@'}}, b: {{cmd: '@MODEL@ --gate {tmp_path}/never'}}}}"
        async with yard(text) as (port, program):
            with program.bus.subscribe(StateChanged) as changes:
                waiting = asyncio.create_task(ask(port, CHAT, JSON, body("b")))
                await changes.next()
                program.stop()
                status, headers, got = await waiting
            assert (status, json.loads(got)["error"]["code"]) == (503, "shutting_down")
            assert "retry-after" in headers

    run(main())


def test_a_request_that_outlives_the_grace_is_not_blamed_on_its_client(
    run: Run, yard: Yard, ask: Ask, tmp_path: Path
) -> None:
    async def main() -> None:
        text = f"{BOTH}\nstore: {{path: {tmp_path}/activity.db}}"
        async with yard(text) as (port, program):
            with program.bus.subscribe(StateChanged) as changes:
                task = asyncio.create_task(ask(port, CHAT, {**JSON, "x-do": "hang"}, body("a")))
                while (await changes.next()).new is not State.READY:  # type: ignore[union-attr]
                    pass
            program._asked_to_stop()
            program._asked_to_stop()
            assert error_of(await task) == (503, "shutting_down")
        async with yard(text) as (port, program):
            (row,) = await rows(port, program, ask)
            assert (row["resp_status_code"], row["error_msg"]) == (503, "shutting down")

    run(main())


# Websockets


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


def test_a_websocket_is_relayed_both_ways_and_occupies_no_row(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with serve(echo, "127.0.0.1", 0) as server:
            up = server.sockets[0].getsockname()[1]
            text = f"peers: {{p: {{proxy: 'http://127.0.0.1:{up}', models: [m]}}}}"
            async with yard(text) as (port, program):
                async with connect(f"ws://127.0.0.1:{port}/upstream/m/live?x=1", proxy=None) as client:
                    for message in ("text", b"bytes", "x" * 300_000):
                        await client.send(message)
                        assert await client.recv() == message
                assert await rows(port, program, ask) == []

    run(main())


def test_a_websocket_that_is_not_agreed_to_is_an_ordinary_answer(run: Run, yard: Yard) -> None:
    async def main() -> None:
        async with yard(BOTH) as (port, program):
            with pytest.raises(InvalidStatus) as refused:
                await connect(f"ws://127.0.0.1:{port}/upstream/a/x", proxy=None)
            assert refused.value.response.status_code == 200
            assert program.fleet.status(A).state is State.READY
            assert program.dispatcher.scheduler.in_flight(A) == 0

    run(main())


def test_a_websocket_whose_model_is_unloaded_before_it_agreed_gets_the_reason(run: Run, yard: Yard) -> None:
    async def main() -> None:
        async with yard(BOTH) as (port, program):

            async def refused() -> int:
                url = f"ws://127.0.0.1:{port}/upstream/a/talk"
                with pytest.raises(InvalidStatus) as answer:
                    await connect(url, proxy=None, additional_headers={"x-do": "hang"})
                return answer.value.response.status_code

            with program.bus.subscribe(StateChanged) as changes:
                opening = asyncio.create_task(refused())
                while (await changes.next()).new is not State.READY:  # type: ignore[union-attr]
                    pass
            await program.dispatcher.unload([A])
            assert await opening == 503

    run(main())


def test_an_ignored_websocket_starts_nothing_and_holds_nothing(run: Run, yard: Yard, ask: Ask) -> None:
    """E-28."""

    async def main() -> None:
        text = "models: {a: {cmd: '@MODEL@', compat: {ignoreWebsockets: true}}}"
        async with yard(text) as (port, program):
            url = f"ws://127.0.0.1:{port}/upstream/a/x"
            with pytest.raises(InvalidStatus) as refused:
                await connect(url, proxy=None)
            assert refused.value.response.status_code == 409
            assert b"ignored websocket requests cannot start it" in (refused.value.response.body or b"")
            assert program.fleet.status(A).start == 0
            await ask(port, "POST /api/models/load/a")
            deadline = program.dispatcher.scheduler.idle_deadline(A)
            with pytest.raises(InvalidStatus):
                await connect(url, proxy=None)
            assert program.dispatcher.scheduler.idle_deadline(A) == deadline

    run(main())


def test_an_open_websocket_ends_when_its_client_goes(run: Run, yard: Yard) -> None:
    async def main() -> None:
        ended = asyncio.Event()

        async def watched(connection: ServerConnection) -> None:
            try:
                await echo(connection)
            except ConnectionClosed:
                pass
            finally:
                ended.set()

        async with serve(watched, "127.0.0.1", 0) as server:
            up = server.sockets[0].getsockname()[1]
            async with yard(f"peers: {{p: {{proxy: 'http://127.0.0.1:{up}', models: [m]}}}}") as (port, _):
                client = await connect(f"ws://127.0.0.1:{port}/upstream/m/x", proxy=None)
                await client.send("hello")
                client.transport.abort()
                async with asyncio.timeout(15):
                    await ended.wait()
                await client.wait_closed()

    run(main())


@contextmanager
def no_file_longer_than(size_bytes: int) -> Iterator[None]:
    """What a full disk is to whoever writes more than that into a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("line", [CHAT, "POST /upstream/a/v1/chat/completions"])
def test_a_long_body_that_finds_no_room_is_507_and_recorded_issue_11(
    run: Run, yard: Yard, ask: Ask, line: str
) -> None:
    async def main() -> None:
        async with yard(BOTH) as (port, program):
            long = json.dumps({"model": "a", "prompt": "x" * 4_000_000}).encode()
            with no_file_longer_than(1_000_000):
                answer = await ask(port, line, JSON, long)
            assert error_of(answer) == (507, "insufficient_storage")
            assert b"no room for the request body" in answer[2]
            (row,) = await rows(port, program, ask)
            assert (row["resp_status_code"], "no room" in row["error_msg"]) == (507, True)
            log = program.logs.history(Source.PROXY)
            assert log.count(b"no room for the request body") == 1 and b"Traceback" not in log
            assert (await ask(port, line, JSON, long))[0] == 200

    run(main())


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/upstream/a/v1/chat/completions"])
def test_a_request_that_sends_its_body_is_listed_and_ends_when_it_stalls_issue_11(
    run: Run, yard: Yard, ask: Ask, path: str
) -> None:
    async def main() -> None:
        async with yard(f"requestBodyTimeout: 1\n{BOTH}") as (port, program):
            head = f"POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
            with program.bus.subscribe(InflightChanged) as changes:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(f'{head}content-length: 1000\r\n\r\n{{"model": "a"'.encode())
                await changes.next()
            (listed,) = json.loads((await ask(port, "GET /api/inflight"))[2])["requests"]
            assert listed["details"]["phase"] == "receiving"
            answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 408 ") and b'"code":"request_timeout"' in answer
            (row,) = await rows(port, program, ask)
            assert row["resp_status_code"] == 408
            assert json.loads((await ask(port, "GET /api/inflight"))[2])["requests"] == []
            writer.transport.abort()

    run(main())


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/upstream/b/v1/chat/completions", "/upstream/b/x"])
def test_a_malformed_body_gives_its_place_back_at_once_issue_11(
    run: Run, yard: Yard, ask: Ask, path: str
) -> None:
    """With one model at a time, all others would wait for that one client."""

    async def main() -> None:
        async with yard(BOTH) as (port, _):
            head = f"POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"{head}transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n".encode())
            writer.write(b"this is no chunk\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
            writer.transport.abort()
            assert (await ask(port, CHAT, JSON, body("a")))[0] == 200

    run(main())


@pytest.mark.parametrize("line", ["GET /comfyui", "GET //v1/models", "POST /upstream", "GET /upstream/a"])
def test_redirects_come_after_the_key_issue_11(run: Run, yard: Yard, ask: Ask, line: str) -> None:
    async def main() -> None:
        async with yard(f"apiKeys: [k1]\n{BOTH}") as (port, _):
            assert (await ask(port, line))[0] == 401
            assert (await ask(port, line, {"X-Api-Key": "k1"}))[0] in (301, 307, 308)

    run(main())
