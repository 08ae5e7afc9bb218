"""The demonstration: its configuration, its pretended model behind the real program, and its command."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import openai
import pytest

from swapyard.app.program import Program
from swapyard.config.commands import split_posix
from swapyard.config.load import load_text
from swapyard.demo import configuration

Run = Callable[[Coroutine[Any, Any, None]], None]
Yard = Callable[[str], AbstractAsyncContextManager[tuple[int, Program]]]
Ask = Callable[..., Coroutine[Any, Any, tuple[int, dict[str, str], bytes]]]

SERVER = (
    f"{sys.executable} -m swapyard.demo.server --port ${{PORT}} --name ${{MODEL_ID}} --tokens-per-second 0"
)
DEMO = f"models: {{demo: {{cmd: '{SERVER}', aliases: [gpt-4o-mini]}}}}"
JSON = {"Content-Type": "application/json"}


def test_the_configuration_is_one_without_warnings() -> None:
    loaded = load_text(configuration(), {})
    assert loaded.warnings == () and set(loaded.config.models) == {"demo-quick", "demo-slow"}
    assert loaded.config.routing.scheduler.use == "serial"
    for settings in loaded.config.models.values():
        assert split_posix(settings.cmd)[:3] == [sys.executable, "-m", "swapyard.demo.server"]


@pytest.mark.parametrize(
    ("line", "asked", "member"),
    [
        ("POST /v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}, "choices"),
        ("POST /v1/completions", {"prompt": "hi"}, "choices"),
        ("POST /v1/responses", {"input": "hi"}, "output"),
        ("POST /v1/messages", {"messages": [], "max_tokens": 5}, "content"),
        ("POST /v1/messages/count_tokens", {"messages": []}, "input_tokens"),
        ("POST /v1/embeddings", {"input": ["a", "b"]}, "data"),
        ("POST /v1/rerank", {"query": "q", "documents": ["a", "b"]}, "results"),
        ("POST /v1/images/generations", {"prompt": "a yard"}, "data"),
        ("POST /sdapi/v1/txt2img", {"prompt": "a yard"}, "images"),
        ("GET /v1/audio/voices?model=demo", None, "voices"),
        ("GET /props?model=demo", None, "total_slots"),
    ],
)
def test_the_pretended_model_answers_on_every_route_of_the_yard(
    run: Run, yard: Yard, ask: Ask, line: str, asked: dict[str, Any] | None, member: str
) -> None:
    async def main() -> None:
        async with yard(DEMO) as (port, _):
            data = b"" if asked is None else json.dumps({"model": "demo", **asked}).encode()
            status, _, body = await ask(port, line, JSON, data)
            assert status == 200 and json.loads(body)[member]

    run(main())


def test_pictures_and_sounds_are_what_they_say_they_are(run: Run, yard: Yard, ask: Ask) -> None:
    async def main() -> None:
        async with yard(DEMO) as (port, _):
            data = b'{"model":"demo","prompt":"x"}'
            _, _, body = await ask(port, "POST /v1/images/generations", JSON, data)
            assert base64.b64decode(json.loads(body)["data"][0]["b64_json"]).startswith(b"\x89PNG\r\n")
            data = b'{"model":"demo","input":"hello"}'
            _, headers, body = await ask(port, "POST /v1/audio/speech", JSON, data)
            assert headers["content-type"] == "audio/wav" and body[:4] == b"RIFF"

    run(main())


@pytest.mark.parametrize("stream", [False, True])
def test_its_tokens_are_counted(run: Run, yard: Yard, ask: Ask, stream: bool) -> None:
    async def main() -> None:
        async with yard(DEMO) as (port, program):
            asked = {"model": "demo", "max_tokens": 7, "stream": stream, "messages": []}
            await ask(port, "POST /v1/chat/completions", JSON, json.dumps(asked))
            await program.observers.recorder.flushed()
            (row,) = json.loads((await ask(port, "GET /api/metrics/activity"))[2])["data"]
            assert row["tokens"]["output_tokens"] == 7 and row["tokens"]["tokens_per_second"] > 0

    run(main())


def test_openais_own_client_talks_to_it(run: Run, yard: Yard) -> None:
    def talk(port: int) -> tuple[str, str]:
        with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0) as client:
            messages: Any = [{"role": "user", "content": "who are you?"}]
            with client.chat.completions.create(
                model="gpt-4o-mini", messages=messages, max_tokens=5, stream=True
            ) as stream:
                streamed = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
            whole = client.chat.completions.create(model="demo", messages=messages, max_tokens=5)
            with pytest.raises(openai.NotFoundError, match="no router for requested model"):
                client.chat.completions.create(model="nobody", messages=messages)
            return streamed, whole.choices[0].message.content or ""

    async def main() -> None:
        async with yard(DEMO) as (port, _):
            streamed, whole = await asyncio.to_thread(talk, port)
            assert streamed == whole and len(whole.split()) == 5

    run(main())


def test_it_is_not_healthy_before_it_has_loaded(free_port: int) -> None:
    command = [sys.executable, "-m", "swapyard.demo.server", "--port", str(free_port), "--load-seconds", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        seen: list[int] = []
        deadline = time.monotonic() + 30
        while 200 not in seen and time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{free_port}/health", timeout=5) as answer:
                    seen.append(answer.status)
            except urllib.error.HTTPError as error:
                seen.append(error.code)
                error.close()
            except OSError:
                pass
            time.sleep(0.05)
        assert 503 in seen and seen[-1] == 200
    finally:
        process.terminate()
        process.wait(10)


def test_the_command_opens_the_yard_invites_and_ends_with_one_signal(tmp_path: Path, free_port: int) -> None:
    command = [sys.executable, "-m", "swapyard", "demo", "-listen", f"127.0.0.1:{free_port}"]
    environ = {**os.environ, "XDG_STATE_HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stdout is not None
        text = ""
        while "/running" not in text:
            text += process.stdout.readline()
        assert f"http://127.0.0.1:{free_port}/ui/" in text and "demo-quick" in text
        with urllib.request.urlopen(f"http://127.0.0.1:{free_port}/v1/models", timeout=10) as answer:
            assert [row["id"] for row in json.load(answer)["data"]] == ["demo-quick", "demo-slow"]
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    # Nothing of it is left but, where a model was started, the ledger of its processes.
    assert {path.name for path in tmp_path.iterdir()} <= {"swapyard"}
