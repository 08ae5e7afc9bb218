"""What is recorded of the time a request spent before its model answered: in line, and loading."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from swapyard.app.program import Program
from swapyard.notices import StateChanged

Run = Callable[[Coroutine[Any, Any, None]], None]
Ask = Callable[..., Coroutine[Any, Any, tuple[int, dict[str, str], bytes]]]
Yard = Callable[[str], AbstractAsyncContextManager[tuple[int, Program]]]

BODY = b'{"model":"m"}'


def test_only_the_request_that_waited_for_the_load_has_load_time(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard("models: {m: {cmd: '@MODEL@'}}") as (port, program):
            headers = {"Content-Type": "application/json"}
            chat = [ask(port, "POST /v1/chat/completions", headers, BODY) for _ in range(2)]
            await asyncio.gather(*chat)
            await program.observers.recorder.flushed()
            page = json.loads((await ask(port, "GET /api/metrics/activity?order=asc"))[2])
            first, second = (row["details"] for row in page["data"])
            # Serial: the second one waits for its turn while the first one's model loads and serves.
            assert first["load_ms"] > first["queue_ms"]
            assert second["load_ms"] is None
            assert second["queue_ms"] >= first["load_ms"]
            assert "in line" in second["wait_reason"] or "load first" in second["wait_reason"]

    run(main())


def test_a_load_that_was_waited_for_in_vain_is_load_time_too(
    run: Run, yard: Yard, ask: Ask, tmp_path: Path
) -> None:
    gate = tmp_path / "never"

    async def main() -> None:
        async with yard(f"models: {{m: {{cmd: '@MODEL@ --gate {gate}'}}}}") as (port, program):
            headers = {"Content-Type": "application/json"}
            with program.bus.subscribe(StateChanged) as states:
                chat = asyncio.create_task(ask(port, "POST /v1/chat/completions", headers, BODY))
                await states.next()
                unload = asyncio.create_task(ask(port, "POST /api/models/unload/m"))
                assert (await chat)[0] == 503
                await unload
            await program.observers.recorder.flushed()
            page = json.loads((await ask(port, "GET /api/metrics/activity"))[2])
            details = page["data"][0]["details"]
            assert details["load_ms"] > 0
            assert details["queue_ms"] + details["load_ms"] <= page["data"][0]["duration_ms"] + 2

    run(main())
