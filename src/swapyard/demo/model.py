"""The pretended model: how long it loads, how fast it talks, and what it says to a request."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse, Response

from swapyard.demo.media import picture
from swapyard.demo.script import Script, script_of

WORDS = (
    "the yard is quiet tonight and every engine waits on its own track until somebody asks for it by name "
    "then a signal changes one rolls out another comes in and the next train leaves with the first word of "
    "an answer that nobody has thought about because this is only a demonstration of how they change places"
).split()

DEFAULT_TOKENS = 64


class Demonstration:
    """The pretended model: when it is loaded, and how fast it talks."""

    def __init__(self, name: str, load_seconds: float, tokens_per_second: float) -> None:
        self.name = name
        self._load_seconds = load_seconds
        self._ready_at = time.monotonic() + load_seconds
        self._pace = 1.0 / tokens_per_second if tokens_per_second > 0 else 0.0

    def remaining(self) -> float:
        return max(0.0, self._ready_at - time.monotonic())

    def announce(self) -> None:
        print(f"{self.name}: a demonstration server, {self._load_seconds:g} s to load", flush=True)

    async def paced(self, pieces: Iterable[str], pace: float | None = None) -> AsyncIterator[str]:
        """Each piece when it is due; `pace` in pieces a second, None for this demonstration's own."""
        between = self._pace if pace is None else 1.0 / pace if pace > 0 else 0.0
        due = time.monotonic()
        for piece in pieces:
            due += between
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            yield piece

    def timings(self, prompt_tokens: int, tokens: int, seconds: float) -> dict[str, Any]:
        """In the shape of llama.cpp's server."""
        prompt_ms = 0.4 * prompt_tokens + 1
        return {
            "cache_n": 0,
            "prompt_n": prompt_tokens,
            "prompt_ms": prompt_ms,
            "prompt_per_second": 1000 * prompt_tokens / prompt_ms,
            "predicted_n": tokens,
            "predicted_ms": 1000 * seconds,
            "predicted_per_second": tokens / seconds if seconds else 0.0,
        }


def event(value: Any, kind: str | None = None) -> bytes:
    head = f"event: {kind}\n" if kind else ""
    return f"{head}data: {json.dumps(value)}\n\n".encode()


def prompt_of(body: dict[str, Any]) -> str:
    return json.dumps(body.get("messages") or body.get("prompt") or body.get("input") or "")


def count_tokens(text: str) -> int:
    return max(1, len(text) // 4)


def limit_of(body: dict[str, Any]) -> int:
    for key in ("max_tokens", "max_completion_tokens", "max_output_tokens", "n_predict"):
        if isinstance(body.get(key), int) and body[key] > 0:
            return min(int(body[key]), 100_000)
    return DEFAULT_TOKENS


def words(tokens: int, seed: str) -> list[str]:
    """`tokens` words; the same seed gives the same words."""
    start = random.Random(seed).randrange(len(WORDS))
    return [WORDS[(start + index) % len(WORDS)] + " " for index in range(tokens)]


@dataclass(frozen=True, slots=True)
class Reply:
    """What a chat request will hear: the script that it brought, or made-up words."""

    script: Script
    pieces: list[str]
    prompt_tokens: int

    @classmethod
    def to(cls, body: dict[str, Any]) -> Reply:
        prompt = prompt_of(body)
        script = script_of(body)
        said = words(limit_of(body), prompt) if script is None else script.pieces()
        reply = cls(script or Script(), said, count_tokens(prompt))
        if reply.script.log:
            print(reply.script.log, flush=True)
        return reply

    @property
    def tokens(self) -> int:
        return len(self.pieces) + len(self.script.thoughts())

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def error(self) -> dict[str, Any]:
        message = self.script.error or self.script.say or "asked for by the request"
        return {"message": message, "type": "demonstration_error", "code": self.script.status}

    def instead(self) -> Response | None:
        """What goes out in place of an answer, where the script asks for that."""
        if self.script.status != 200:
            return JSONResponse({"error": self.error()}, self.script.status)
        match self.script.send:
            case "picture":
                return Response(picture(self.script.say), media_type="image/png")
            case "bytes":
                return Response(bytes(range(64)), media_type="application/octet-stream")
            case "nothing":
                return Response(media_type="text/plain")
        return None
