"""The OpenAPI document: complete, valid, and what it says of every GET is what comes back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

import jsonschema

from swapyard.app.program import Program

Run = Callable[[Coroutine[Any, Any, None]], None]
Yard = Callable[[str], AbstractAsyncContextManager[tuple[int, Program]]]
Ask = Callable[..., Coroutine[Any, Any, tuple[int, dict[str, str], bytes]]]

CONFIG = """
models:
  m:
    cmd: '@MODEL@'
    name: M
    ttl: 600
    aliases: [n]
    capabilities: {in: [text], out: [text], tools: true, context: 5}
  other: {cmd: '@MODEL@'}
peers: {cloud: {proxy: 'http://127.0.0.1:1', models: [far]}}
selectors: {pool: {strategy: pin, targets: [m]}}
profiles: {night: {pins: {x: m}}}
routing: {router: {settings: {groups: {all: {swap: false, members: [m, other]}}}}}
"""

# http-api.md §5, and what swapyard adds to it.
OPERATIONS = {
    "GET /v1/models",
    "GET /v1/models/{model_id}",
    "GET /health",
    "GET /running",
    "GET /unload",
    "POST /api/models/unload",
    "POST /api/models/unload/{model}",
    "POST /api/models/load/{model}",
    "POST /api/models/keep/{model}",
    "GET /api/models",
    "GET /metrics",
    "GET /api/version",
    "GET /api/live",
    "GET /api/ready",
    "GET /api/profiles",
    "PUT /api/profiles/active",
    "GET /api/inflight",
    "POST /api/inflight/{request}/cancel",
    "GET /api/metrics/activity",
    "GET /api/metrics/stats",
    "GET /api/performance",
    "GET /api/hardware",
    "GET /api/captures/{activity}",
    "GET /api/events",
    "GET /api/yard",
    "POST /api/config/reload",
    "GET /logs",
    "GET /logs/stream",
    "GET /logs/stream/{name}",
}

SOMETIMES_UNAVAILABLE = {"/api/performance", "/api/ready"}
"""Their 503 has a body of its own."""

ENDLESS = {
    "/api/events": "text/event-stream",
    "/logs/stream": "text/plain",
    "/logs/stream/{name}": "text/plain",
}

PARTS = {"{model_id}": "m", "{activity}": "1"}


async def document(port: int, ask: Ask) -> dict[str, Any]:
    status, headers, body = await ask(port, "GET /openapi.json")
    assert (status, headers["content-type"]) == (200, "application/json")
    found: dict[str, Any] = json.loads(body)
    return found


def validator(schema: dict[str, Any], whole: dict[str, Any]) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator({**schema, "components": whole["components"]})


async def a_busy_yard(port: int, program: Program, ask: Ask) -> asyncio.Task[Any]:
    """Something of everything: a row, a capture, a loaded model, a request under way, known hardware."""
    chat, headers = "POST /v1/chat/completions", {"Content-Type": "application/json"}
    await ask(port, chat, headers, '{"model":"m"}')
    await ask(port, chat, headers, '{"model":"nobody"}')
    await program.observers.recorder.flushed()
    hanging = ask(port, chat, {**headers, "x-do": "hang", "X-Session-ID": "s"}, '{"model":"other"}')
    task = asyncio.create_task(hanging)
    program.activate_profile("night")
    async with asyncio.timeout(15):
        while (await ask(port, "GET /api/hardware"))[0] != 200:  # noqa: ASYNC110 - nobody tells when
            await asyncio.sleep(0.05)
    return task


def test_every_route_of_the_specification_is_in_the_document(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard(CONFIG) as (port, _):
            paths = (await document(port, ask))["paths"]
        found = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
        assert found == OPERATIONS

    run(main())


def test_every_operation_explains_itself_and_its_refusals(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard(CONFIG) as (port, _):
            whole = await document(port, ask)
        for path, operations in whole["paths"].items():
            for operation in operations.values():
                assert operation["description"] and operation["tags"]
                unavailable = {"503"} if path in SOMETIMES_UNAVAILABLE else set()
                assert set(operation["responses"]) == {"200", "default"} | unavailable
                assert all(response["content"] for response in operation["responses"].values())

    run(main())


def test_what_a_get_answers_is_what_the_document_says(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard(CONFIG) as (port, program):
            whole = await document(port, ask)
            busy = await a_busy_yard(port, program, ask)
            checked = set()
            for path, operations in whole["paths"].items():
                if "get" not in operations or path == "/unload":
                    continue
                content = operations["get"]["responses"]["200"]["content"]
                if path in ENDLESS:
                    assert set(content) == {ENDLESS[path]}
                    continue
                asked = path
                for part, value in PARTS.items():
                    asked = asked.replace(part, value)
                status, headers, body = await ask(port, f"GET {asked}")
                assert (path, status) == (path, 200)
                assert set(content) == {headers["content-type"].partition(";")[0]}, path
                if headers["content-type"] != "application/json":
                    continue
                validator(content["application/json"]["schema"], whole).validate(json.loads(body))
                checked.add(path)
            assert len(checked) == 13
            busy.cancel()
            await asyncio.gather(busy, return_exceptions=True)

    run(main())


def test_what_an_order_answers_is_what_the_document_says(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard(CONFIG) as (port, program):
            whole = await document(port, ask)
            busy = await a_busy_yard(port, program, ask)
            orders = {
                "POST /api/models/load/{model}": "m",
                "POST /api/models/keep/{model}": "m",
                "POST /api/inflight/{request}/cancel": json.loads((await ask(port, "GET /api/inflight"))[2])[
                    "requests"
                ][0]["id"],
                "PUT /api/profiles/active": "",
                "POST /api/config/reload": "",
                "POST /api/models/unload/{model}": "m",
                "POST /api/models/unload": "",
            }
            assert set(orders) == {line for line in OPERATIONS if not line.startswith("GET ")}
            for line, part in orders.items():
                method, path = line.split()
                operation = whole["paths"][path][method.lower()]
                asked = f"{method} {path.replace('{model}', part).replace('{request}', part)}"
                status, headers, body = await ask(port, asked, {}, '{"name":"night"}')
                assert (line, status) == (line, 200)
                (media,) = operation["responses"]["200"]["content"]
                assert headers["content-type"].partition(";")[0] == media
                if media == "application/json":
                    schema = operation["responses"]["200"]["content"][media]["schema"]
                    validator(schema, whole).validate(json.loads(body))
            await busy

    run(main())


def test_what_is_unavailable_says_so_as_documented(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard(f"performance: {{disabled: true}}\n{CONFIG}") as (port, _):
            whole = await document(port, ask)
            status, _, body = await ask(port, "GET /api/performance")
            assert status == 503
            content = whole["paths"]["/api/performance"]["get"]["responses"]["503"]["content"]
            validator(content["application/json"]["schema"], whole).validate(json.loads(body))

    run(main())


def test_every_parameter_that_is_read_is_in_the_document(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard(CONFIG) as (port, _):
            paths = (await document(port, ask))["paths"]
        named = {
            path: {each["name"] for each in operations["get"].get("parameters", []) if each["in"] == "query"}
            for path, operations in paths.items()
            if "get" in operations
        }
        assert {path: names for path, names in named.items() if names} == {
            "/api/events": {"without"},
            "/logs/stream": {"no-history"},
            "/logs/stream/{name}": {"no-history"},
            "/api/performance": {"after"},
            "/api/metrics/stats": {"model"},
            "/api/metrics/activity": {
                *("model", "start", "end", "min_id", "max_id", "limit", "page", "sort", "order"),
                *("status", "path", "key", "session", "request_id", "q"),
            },
        }

    run(main())


def test_refusals_have_the_documented_shape(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard(CONFIG) as (port, _):
            whole = await document(port, ask)
            refusals = validator({"$ref": "#/components/schemas/ErrorEnvelope"}, whole)
            for line in (
                "GET /api/captures/x",
                "GET /api/captures/99",
                "GET /api/performance?after=x",
                "GET /api/metrics/activity?limit=x",
                "GET /v1/models/nobody",
                "GET /logs/stream/nobody",
                "POST /api/models/unload/nobody",
                "POST /api/inflight/x/cancel",
                "PUT /api/profiles/active",
            ):
                status, _, body = await ask(port, line)
                assert status in (400, 404), line
                refusals.validate(json.loads(body))

    run(main())


def test_the_messages_of_the_event_stream_are_what_the_document_says(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard(CONFIG) as (port, program):
            whole = await document(port, ask)
            known = whole["components"]["schemas"]["Events"]["properties"]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /api/events HTTP/1.0\r\n\r\n")
            busy = await a_busy_yard(port, program, ask)
            busy.cancel()
            await asyncio.gather(busy, return_exceptions=True)
            program.stop()
            text = (await reader.read()).partition(b"\r\n\r\n")[2]
            writer.transport.abort()
        seen = set()
        for frame in text.split(b"\n\n"):
            if frame.startswith(b"event:message\ndata:"):
                envelope = json.loads(frame.partition(b"\ndata:")[2])
                validator(known[envelope["type"]], whole).validate(json.loads(envelope["data"]))
                seen.add(envelope["type"])
        assert {"logData", "modelStatus", "uiConfig", "profileChanged", "inflight", "activity"} <= seen
        assert {"stateChanged"} <= seen <= set(known)

    run(main())
