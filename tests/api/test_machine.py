"""The machine's load and parts, Prometheus' page, and the hour of the yard."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

from swapyard.app.program import Program

Run = Callable[[Coroutine[Any, Any, None]], None]
Yard = Callable[[str], AbstractAsyncContextManager[tuple[int, Program]]]
Ask = Callable[..., Coroutine[Any, Any, tuple[int, dict[str, str], bytes]]]

MODELS = "models: {m: {cmd: '@MODEL@'}}"
CHAT = "POST /v1/chat/completions"
JSON = {"Content-Type": "application/json"}


def test_samples_of_the_machine_can_be_asked_for_from_a_moment_on(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard(MODELS) as (port, _):
            assert json.loads((await ask(port, "GET /api/performance"))[2])["enabled"] is True
            later = await ask(port, "GET /api/performance?after=2999-01-01T00:00:00%2B01:00")
            assert json.loads(later[2])["sys_stats"] == []
            status, _, body = await ask(port, "GET /api/performance?after=yesterday")
            assert status == 400 and "RFC3339" in json.loads(body)["error"]["message"]

    run(main())


def test_without_sampling_the_load_is_unavailable_and_the_metrics_are_not(
    run: Run, yard: Yard, ask: Ask
) -> None:
    async def main() -> None:
        async with yard(f"performance: {{disabled: true}}\n{MODELS}") as (port, _):
            status, _, body = await ask(port, "GET /api/performance")
            assert (status, json.loads(body)) == (503, {"enabled": False})
            status, headers, body = await ask(port, "GET /metrics")
            assert status == 200 and headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
            assert b"# HELP" in body

    run(main())


def test_names_that_the_configuration_does_not_have_make_no_series(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        text = f"{MODELS}\npeers: {{cloud: {{proxy: 'http://127.0.0.1:1', models: [far]}}}}"
        async with yard(text) as (port, program):
            for name in ("m", "made-up", "cloud/made-up", "cloud/far", "far"):
                await ask(port, CHAT, JSON, json.dumps({"model": name}))
            await program.observers.recorder.flushed()
            page = (await ask(port, "GET /metrics"))[2].decode()
            assert "made-up" not in page and 'model="(unknown)"' in page
            for name in ("m", "cloud/far", "far"):
                assert f'model="{name}"' in page

    run(main())


def test_the_hardware_is_told_once_it_is_known(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard(MODELS) as (port, _):
            async with asyncio.timeout(15):
                while (answer := await ask(port, "GET /api/hardware"))[0] != 200:
                    assert answer[0] == 503
                    await asyncio.sleep(0.05)
            found = json.loads(answer[2])
            assert found["schema_version"] == 1 and found["memory"]["capacity_bytes"] > 0

    run(main())


def test_the_yard_shows_what_a_model_has_been_doing(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard(MODELS) as (port, program):
            async with program.dispatcher.lease(program.fleet.statuses()[0].model):
                async with asyncio.timeout(15):
                    lane: dict[str, Any] = {"serving": []}
                    while not lane["serving"]:
                        await asyncio.sleep(0.05)
                        (lane,) = json.loads((await ask(port, "GET /api/yard"))[2])["lanes"]
            assert [span["state"] for span in lane["spans"]] == ["starting", "ready"]
            assert lane["spans"][-1]["to"] is None and lane["serving"][0]["count"] == 1

    run(main())
