"""Reloads under work: what keeps running, what is replaced, and what a bad file changes (nothing)."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from swapyard.app.program import Program
from swapyard.notices import ConfigReloaded, LogWritten, ModelPreloaded, ProfileChanged, StateChanged
from swapyard.observe.logs import Source
from swapyard.types import ModelId, State

Run = Callable[[Coroutine[Any, Any, None]], None]
Yard = Callable[[str], AbstractAsyncContextManager[tuple[int, Program]]]
Ask = Callable[..., Coroutine[Any, Any, tuple[int, dict[str, str], bytes]]]
Rewrite = Callable[[str], None]

A, B = ModelId("a"), ModelId("b")
CHAT = "POST /v1/chat/completions"
JSON = {"Content-Type": "application/json"}
ONE = "models: {a: {cmd: '@MODEL@'}}"
BOTH = "models: {a: {cmd: '@MODEL@'}, b: {cmd: '@MODEL@'}}"
TOGETHER = "\nrouting: {router: {settings: {groups: {all: {swap: false, members: [a, b]}}}}}"


def body(model: str) -> bytes:
    return json.dumps({"model": model}).encode()


async def reload(port: int, ask: Ask) -> dict[str, Any]:
    status, _, got = await ask(port, "POST /api/config/reload")
    assert status == 200, got
    answer: dict[str, Any] = json.loads(got)
    return answer


def test_a_model_that_did_not_change_keeps_its_process_and_its_streams(
    run: Run, yard: Yard, ask: Ask, rewrite: Rewrite
) -> None:
    async def main() -> None:
        async with yard(ONE) as (port, program):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            data = body("a")
            head = f"{CHAT} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\nx-do: stream-hang\r\n"
            writer.write(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
            await reader.readuntil(b'data: {"n":0}\n\n')
            pid = program.fleet.status(A).pid
            rewrite(BOTH + TOGETHER)
            assert await reload(port, ask) == {"changed": [], "warnings": []}
            assert program.fleet.status(A).pid == pid and not reader.at_eof()
            # Its neighbour is new, and runs beside it on a port of its own.
            assert (await ask(port, CHAT, JSON, body("b")))[0] == 200
            assert program.fleet.status(A).state is State.READY
            assert program.fleet.status(A).base_url != program.fleet.status(B).base_url
            writer.transport.abort()

    run(main())


def test_a_changed_model_is_replaced_once_its_requests_have_ended(
    run: Run, yard: Yard, ask: Ask, rewrite: Rewrite
) -> None:
    async def main() -> None:
        async with yard(ONE) as (port, program):
            async with program.dispatcher.lease(A) as before:
                rewrite(ONE.replace("@MODEL@", "@MODEL@ --name new"))
                assert await reload(port, ask) == {"changed": ["a"], "warnings": []}
                waiting = asyncio.create_task(ask(port, CHAT, JSON, body("a")))
                await asyncio.sleep(0.1)
                assert program.fleet.status(A).start == before.start and not waiting.done()
            status, _, got = await waiting
            assert (status, json.loads(got)["model"]) == (200, "new")

    run(main())


def test_who_waits_for_a_changed_model_gets_the_new_version(
    run: Run, yard: Yard, ask: Ask, rewrite: Rewrite, tmp_path: Path
) -> None:
    async def main() -> None:
        async with yard(ONE.replace("@MODEL@", f"@MODEL@ --gate {tmp_path}/never")) as (port, program):
            with program.bus.subscribe(StateChanged) as changes:
                waiting = asyncio.create_task(ask(port, CHAT, JSON, body("a")))
                await changes.next()
            rewrite(ONE)
            await reload(port, ask)
            assert (await waiting)[0] == 200

    run(main())


def test_who_waits_for_a_removed_model_is_told_at_once_and_its_load_ends(
    run: Run, yard: Yard, ask: Ask, rewrite: Rewrite, tmp_path: Path
) -> None:
    async def main() -> None:
        text = f"models: {{a: {{cmd: '@MODEL@'}}, b: {{cmd: '@MODEL@ --gate {tmp_path}/never'}}}}"
        async with yard(text) as (port, program):
            with program.bus.subscribe(StateChanged) as changes:
                waiting = asyncio.create_task(ask(port, CHAT, JSON, body("b")))
                await changes.next()
                rewrite(ONE)
                await reload(port, ask)
                status, _, got = await waiting
                assert (status, json.loads(got)["error"]["code"]) == (404, "not_found")
                while (await changes.next()).new is not State.STOPPED:  # type: ignore[union-attr]
                    pass
            assert (await ask(port, CHAT, JSON, body("b")))[0] == 404
            assert [status.model for status in program.fleet.statuses()] == ["a"]

    run(main())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("models: {a: {cmd: '@MODEL@', ttl: soon, cmdd: x}}", "models.a.ttl"),
        ("models: [", "config.yaml"),
        (
            "models: {a: {cmd: '@MODEL@'}}\nstore: {path: /no/such/folder/of/ours/activity.db}",
            "/no/such/folder",
        ),
    ],
    ids=["a bad value", "no YAML", "a store that cannot be opened"],
)
def test_a_configuration_that_cannot_be_used_changes_nothing_and_says_why(
    run: Run, yard: Yard, ask: Ask, rewrite: Rewrite, text: str, told: str
) -> None:
    async def main() -> None:
        async with yard(BOTH) as (port, program):
            await ask(port, "POST /api/models/load/a")
            before, pid = program.data.generation, program.fleet.status(A).pid
            rewrite(text)
            with program.bus.subscribe(ConfigReloaded) as reloads:
                status, _, got = await ask(port, "POST /api/config/reload")
                assert status == 400 and told in json.loads(got)["error"]["message"]
                notice = await reloads.next()
                assert isinstance(notice, ConfigReloaded) and notice.error and told in notice.error
            assert program.data.generation is before and program.fleet.status(A).pid == pid
            assert b"failed to reload config" in program.logs.history(Source.PROXY)
            # The yard goes on, and takes the next good file.
            rewrite(ONE)
            await reload(port, ask)
            assert (await ask(port, CHAT, JSON, body("b")))[0] == 404

    run(main())


def test_everything_that_is_no_process_takes_effect_at_once(
    run: Run, yard: Yard, ask: Ask, rewrite: Rewrite
) -> None:
    async def main() -> None:
        async with yard(ONE) as (port, program):
            await ask(port, "POST /api/models/load/a")
            pid = program.fleet.status(A).pid
            rewrite(
                "apiKeys: [k]\nmodels: {a: {cmd: '@MODEL@', aliases: [other], filters: {setParams: {x: 1}}}}"
            )
            assert await reload(port, ask) == {"changed": [], "warnings": []}
            assert (await ask(port, "GET /running"))[0] == 401
            _, _, got = await ask(port, CHAT, {**JSON, "x-api-key": "k"}, body("other"))
            assert json.loads(json.loads(got)["body"]) == {"model": "other", "x": 1}
            assert program.fleet.status(A).pid == pid

    run(main())


def test_the_active_profile_survives_if_it_still_exists(
    run: Run, yard: Yard, ask: Ask, rewrite: Rewrite
) -> None:
    async def main() -> None:
        async with yard(f"{ONE}\nprofiles: {{day: {{pins: {{x: a}}}}}}") as (port, program):
            program.activate_profile("day")
            rewrite(f"{BOTH}\nprofiles: {{day: {{pins: {{x: b}}}}}}")
            await reload(port, ask)
            assert program.data.profile == "day"
            _, _, got = await ask(port, CHAT, JSON, body("x"))
            assert json.loads(got)["model"] == "b"
            rewrite(ONE)
            with program.bus.subscribe(ProfileChanged) as changes:
                await reload(port, ask)
                assert await changes.next() == ProfileChanged(None)
            assert program.data.profile is None

    run(main())


def test_an_added_model_is_preloaded_beside_the_others_and_nobody_waits_for_it(
    run: Run, yard: Yard, ask: Ask, rewrite: Rewrite, tmp_path: Path
) -> None:
    async def main() -> None:
        async with yard(ONE) as (port, program):
            await ask(port, "POST /api/models/load/a")
            gated = BOTH.replace("b: {cmd: '@MODEL@'", f"b: {{cmd: '@MODEL@ --gate {tmp_path}/gate'")
            rewrite(f"hooks: {{on_startup: {{preload: [a, b]}}}}\n{gated}{TOGETHER}")
            with program.bus.subscribe(ModelPreloaded) as preloads:
                async with asyncio.timeout(15):
                    await reload(port, ask)
                    # The next reload does not wait for the preload either.
                    await reload(port, ask)
                assert program.fleet.status(B).state is not State.READY
                (tmp_path / "gate").touch()
                assert await preloads.next() == ModelPreloaded(B, success=True)
            assert program.fleet.status(A).state is State.READY

    run(main())


def test_nothing_is_preloaded_for_which_something_would_have_to_go(
    run: Run, yard: Yard, ask: Ask, rewrite: Rewrite
) -> None:
    async def main() -> None:
        async with yard(ONE) as (port, program):
            await ask(port, "POST /api/models/load/a")
            rewrite(f"hooks: {{on_startup: {{preload: [b]}}}}\n{BOTH}")
            await reload(port, ask)
            await asyncio.sleep(0.1)
            assert program.fleet.status(A).state is State.READY and program.fleet.status(B).start == 0

    run(main())


def test_of_two_added_models_that_exclude_each_other_only_the_first_is_preloaded(
    run: Run, yard: Yard, ask: Ask, rewrite: Rewrite
) -> None:
    async def main() -> None:
        async with yard("models: {c: {cmd: '@MODEL@'}}") as (port, program):
            groups = "\nrouting: {router: {settings: {groups: {all: {swap: true, members: [a, b]}}}}}"
            rewrite(f"hooks: {{on_startup: {{preload: [a, b]}}}}\n{BOTH}{groups}")
            with program.bus.subscribe(ModelPreloaded) as preloads:
                await reload(port, ask)
                assert await preloads.next() == ModelPreloaded(A, success=True)
            await asyncio.sleep(0.1)
            assert program.fleet.status(A).state is State.READY and program.fleet.status(B).start == 0

    run(main())


def test_a_reload_goes_on_when_its_asker_leaves(
    run: Run, yard: Yard, rewrite: Rewrite, tmp_path: Path
) -> None:
    async def main() -> None:
        async with yard(ONE) as (port, program):
            rewrite(f"{BOTH}\nstore: {{path: {tmp_path}/activity.db}}")
            with program.bus.subscribe(LogWritten, ConfigReloaded) as notices:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"POST /api/config/reload HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n")
                notice = await notices.next()
                while not (isinstance(notice, LogWritten) and b"reloading" in notice.data):
                    notice = await notices.next()
                writer.transport.abort()
                while not isinstance(notice, ConfigReloaded):
                    notice = await notices.next()
                assert notice.error is None
            assert B in program.data.generation.config.models
            assert (tmp_path / "activity.db").exists()

    run(main())


def test_reloads_asked_for_at_once_are_all_answered(run: Run, yard: Yard, ask: Ask, rewrite: Rewrite) -> None:
    """R-27."""

    async def main() -> None:
        async with yard(ONE) as (port, program):
            rewrite(BOTH)
            with program.bus.subscribe(ConfigReloaded) as reloads:
                answers = await asyncio.gather(*(ask(port, "POST /api/config/reload") for _ in range(5)))
                assert [status for status, _, _ in answers] == [200] * 5
                program.bus.close()
                done = 0
                while await reloads.next() is not None:
                    done += 1
            assert 1 <= done <= 5

    run(main())


def test_another_store_takes_over_the_activity_from_then_on(
    run: Run, yard: Yard, ask: Ask, rewrite: Rewrite, tmp_path: Path
) -> None:
    async def main() -> None:
        async with yard(ONE) as (port, program):
            await ask(port, CHAT, JSON, body("a"))
            rewrite(f"{ONE}\nstore: {{path: {tmp_path}/activity.db}}")
            await reload(port, ask)
            await ask(port, CHAT, JSON, body("a"))
            await program.observers.recorder.flushed()
            page = json.loads((await ask(port, "GET /api/metrics/activity"))[2])
            assert page["total"] == 1

    run(main())


def observed(disabled: str, mebibytes: int, level: str) -> str:
    return f"performance: {{disabled: {disabled}}}\ncaptureBuffer: {mebibytes}\nlogLevel: {level}\n{ONE}"


def test_observing_follows_the_configuration_in_both_directions(
    run: Run, yard: Yard, ask: Ask, rewrite: Rewrite
) -> None:
    async def main() -> None:
        async with yard(observed("true", 5, "info")) as (port, program):

            async def chat() -> dict[str, Any]:
                """The row of one more request."""
                await ask(port, CHAT, JSON, body("a"))
                await program.observers.recorder.flushed()
                page = json.loads((await ask(port, "GET /api/metrics/activity?limit=1"))[2])
                row: dict[str, Any] = page["data"][0]
                return row

            def has_debug_line() -> bool:
                return b"[DEBUG] a word" in program.logs.history(Source.PROXY)

            assert (await ask(port, "GET /api/performance"))[0] == 503
            assert (await chat())["has_capture"]
            program.logs.log(logging.DEBUG, "a word")
            assert not has_debug_line()

            rewrite(observed("false", 5, "debug"))
            assert (await reload(port, ask))["changed"] == []
            assert json.loads((await ask(port, "GET /api/performance"))[2])["enabled"] is True
            assert (await ask(port, "GET /api/captures/1"))[0] == 200
            program.logs.log(logging.DEBUG, "a word")
            assert has_debug_line()

            rewrite(observed("true", 0, "warn"))
            await reload(port, ask)
            assert (await ask(port, "GET /api/performance"))[0] == 503
            assert (await ask(port, "GET /api/captures/1"))[0] == 404
            row = await chat()
            assert (row["id"], row["has_capture"]) == (2, False)
            program.logs.log(logging.INFO, "another word")
            assert b"another word" not in program.logs.history(Source.PROXY)

            rewrite(observed("false", 5, "info"))
            await reload(port, ask)
            assert json.loads((await ask(port, "GET /api/performance"))[2])["enabled"] is True
            assert (await chat())["has_capture"]

    run(main())


def test_retention_follows_the_configuration(
    run: Run, yard: Yard, ask: Ask, rewrite: Rewrite, tmp_path: Path
) -> None:
    async def main() -> None:
        text = f"{ONE}\nstore: {{path: {tmp_path}/activity.db, maxRows: @ROWS@}}"
        async with yard(text.replace("@ROWS@", "3")) as (port, program):

            async def kept_after(requests: int) -> list[int]:
                for _ in range(requests):
                    await ask(port, CHAT, JSON, body("a"))
                await program.observers.recorder.flushed()
                page = json.loads((await ask(port, "GET /api/metrics/activity"))[2])
                return [row["id"] for row in page["data"]]

            assert await kept_after(5) == [5, 4, 3]
            rewrite(text.replace("@ROWS@", "2"))
            await reload(port, ask)
            assert await kept_after(1) == [6, 5]
            rewrite(text.replace("@ROWS@", "0"))
            await reload(port, ask)
            assert await kept_after(2) == [8, 7, 6, 5]

    run(main())


def test_event_and_log_streams_stay_open(run: Run, yard: Yard, ask: Ask, rewrite: Rewrite) -> None:
    async def main() -> None:
        async with yard(ONE) as (port, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /api/events HTTP/1.1\r\nhost: a\r\n\r\n")
            await reader.readuntil(b"inflight")
            rewrite(BOTH)
            await reload(port, ask)
            await reader.readuntil(b'configReloaded","data":"{\\"error\\":null}"')
            writer.transport.abort()

    run(main())
