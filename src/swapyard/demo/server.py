"""A small OpenAI- and Anthropic-compatible server that makes words up: a demonstration, not a model.

Run by `swapyard demo` as a child process, and by tests that need an inference server which costs nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import struct
import time
import zlib
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

WORDS = (
    "the yard is quiet tonight and every engine waits on its own track until somebody asks for it by name "
    "then a signal changes one rolls out another comes in and the next train leaves with the first word of "
    "an answer that nobody has thought about because this is only a demonstration of how they change places"
).split()

DEFAULT_TOKENS = 64
SAMPLE_RATE_HZ = 16_000


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

    async def talk(self, tokens: int, seed: str) -> AsyncIterator[str]:
        """`tokens` words, each when it is due; the same seed gives the same words."""
        start = random.Random(seed).randrange(len(WORDS))
        due = time.monotonic()
        for index in range(tokens):
            due += self._pace
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            yield WORDS[(start + index) % len(WORDS)] + " "

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


class Api:
    """The routes, each an endpoint of the APIs that clients know."""

    def __init__(self, model: Demonstration) -> None:
        self._model = model

    def routes(self) -> Sequence[Route]:
        return [
            Route("/health", self.health),
            Route("/", self.page),
            Route("/v1/models", self.models),
            Route("/props", self.props),
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/v1/completions", self.completions, methods=["POST"]),
            Route("/v1/responses", self.responses, methods=["POST"]),
            Route("/v1/messages", self.messages, methods=["POST"]),
            Route("/v1/messages/count_tokens", self.count_tokens, methods=["POST"]),
            Route("/v1/embeddings", self.embeddings, methods=["POST"]),
            Route("/v1/rerank", self.rerank, methods=["POST"]),
            Route("/v1/audio/speech", self.speech, methods=["POST"]),
            Route("/v1/audio/voices", self.voices),
            Route("/v1/audio/transcriptions", self.transcriptions, methods=["POST"]),
            Route("/v1/images/generations", self.images, methods=["POST"]),
            Route("/sdapi/v1/txt2img", self.txt2img, methods=["POST"]),
            Route("/sdapi/v1/loras", self.loras),
        ]

    async def health(self, _: Request) -> Response:
        left = self._model.remaining()
        if left > 0:
            return JSONResponse({"status": "loading", "seconds_left": round(left, 1)}, 503)
        return JSONResponse({"status": "ok"})

    async def page(self, _: Request) -> Response:
        return Response(f"{self._model.name}: a demonstration server\n", media_type="text/plain")

    async def models(self, _: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": self._model.name, "object": "model"}]})

    async def props(self, _: Request) -> Response:
        settings = {"default_generation_settings": {"n_ctx": 8192}, "total_slots": 4}
        return JSONResponse({**settings, "model_path": "none: a demonstration"})

    async def chat(self, request: Request) -> Response:
        body = await request.json()
        shape = {"id": "demo", "created": int(time.time()), "model": self._model.name}
        prompt, tokens = prompt_of(body), limit_of(body)
        prompt_tokens = count_tokens(prompt)
        usage = {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": tokens,
            "total_tokens": prompt_tokens + tokens,
        }
        begun = time.monotonic()
        if not body.get("stream"):
            text = "".join([word async for word in self._model.talk(tokens, prompt)])
            choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            timings = self._model.timings(prompt_tokens, tokens, time.monotonic() - begun)
            whole = {"object": "chat.completion", "choices": [choice], "usage": usage, "timings": timings}
            return JSONResponse({**shape, **whole})

        def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
            choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
            return event({**shape, "object": "chat.completion.chunk", "choices": choices, **more})

        async def stream() -> AsyncIterator[bytes]:
            yield chunk({"role": "assistant", "content": ""})
            async for word in self._model.talk(tokens, prompt):
                yield chunk({"content": word})
            timings = self._model.timings(prompt_tokens, tokens, time.monotonic() - begun)
            yield chunk({}, "stop", usage=usage, timings=timings)
            yield b"data: [DONE]\n\n"

        return StreamingResponse(stream(), media_type="text/event-stream")

    async def completions(self, request: Request) -> Response:
        body = await request.json()
        prompt, tokens = prompt_of(body), limit_of(body)
        text = "".join([word async for word in self._model.talk(tokens, prompt)])
        usage = {"prompt_tokens": count_tokens(prompt), "completion_tokens": tokens}
        choice = {"index": 0, "text": text, "finish_reason": "length"}
        return JSONResponse({"object": "text_completion", "choices": [choice], "usage": usage})

    async def responses(self, request: Request) -> Response:
        body = await request.json()
        prompt, tokens = prompt_of(body), limit_of(body)
        usage = {"input_tokens": count_tokens(prompt), "output_tokens": tokens}

        def whole(text: str, status: str) -> dict[str, Any]:
            content = [{"type": "output_text", "text": text}]
            output = [{"type": "message", "role": "assistant", "content": content}]
            return {"id": "demo", "object": "response", "status": status, "output": output, "usage": usage}

        if not body.get("stream"):
            text = "".join([word async for word in self._model.talk(tokens, prompt)])
            return JSONResponse(whole(text, "completed"))

        async def stream() -> AsyncIterator[bytes]:
            said = []
            created = {"type": "response.created", "response": whole("", "in_progress")}
            yield event(created, "response.created")
            async for word in self._model.talk(tokens, prompt):
                said.append(word)
                delta = {"type": "response.output_text.delta", "output_index": 0, "delta": word}
                yield event(delta, "response.output_text.delta")
            done = {"type": "response.completed", "response": whole("".join(said), "completed")}
            yield event(done, "response.completed")

        return StreamingResponse(stream(), media_type="text/event-stream")

    async def messages(self, request: Request) -> Response:
        body = await request.json()
        prompt, tokens = prompt_of(body), limit_of(body)
        shape = {"id": "demo", "type": "message", "role": "assistant", "model": self._model.name}
        usage = {"input_tokens": count_tokens(prompt), "output_tokens": tokens}
        if not body.get("stream"):
            text = "".join([word async for word in self._model.talk(tokens, prompt)])
            content = [{"type": "text", "text": text}]
            return JSONResponse({**shape, "content": content, "stop_reason": "end_turn", "usage": usage})

        async def stream() -> AsyncIterator[bytes]:
            start = {**shape, "content": [], "usage": {**usage, "output_tokens": 1}}
            yield event({"type": "message_start", "message": start}, "message_start")
            block = {"type": "text", "text": ""}
            opened = {"type": "content_block_start", "index": 0, "content_block": block}
            yield event(opened, "content_block_start")
            async for word in self._model.talk(tokens, prompt):
                delta = {"type": "text_delta", "text": word}
                said = {"type": "content_block_delta", "index": 0, "delta": delta}
                yield event(said, "content_block_delta")
            yield event({"type": "content_block_stop", "index": 0}, "content_block_stop")
            end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
            yield event({**end, "usage": {"output_tokens": tokens}}, "message_delta")
            yield event({"type": "message_stop"}, "message_stop")

        return StreamingResponse(stream(), media_type="text/event-stream")

    async def count_tokens(self, request: Request) -> Response:
        return JSONResponse({"input_tokens": count_tokens(prompt_of(await request.json()))})

    async def embeddings(self, request: Request) -> Response:
        body = await request.json()
        given = body.get("input", "")
        texts = given if isinstance(given, list) else [given]
        data = [
            {"object": "embedding", "index": index, "embedding": _vector(str(text))}
            for index, text in enumerate(texts)
        ]
        tokens = sum(count_tokens(str(text)) for text in texts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return JSONResponse({"object": "list", "data": data, "model": self._model.name, "usage": usage})

    async def rerank(self, request: Request) -> Response:
        body = await request.json()
        query = _vector(str(body.get("query", "")))
        scored = [
            {
                "index": index,
                "relevance_score": sum(a * b for a, b in zip(query, _vector(str(text)), strict=True)),
            }
            for index, text in enumerate(body.get("documents", []))
        ]
        scored.sort(key=lambda row: -row["relevance_score"])
        return JSONResponse({"object": "list", "results": scored, "usage": {"prompt_tokens": len(scored)}})

    async def speech(self, request: Request) -> Response:
        body = await request.json()
        return Response(_tone(0.05 * min(len(str(body.get("input", ""))), 200)), media_type="audio/wav")

    async def voices(self, _: Request) -> Response:
        return JSONResponse({"voices": ["low", "high"]})

    async def transcriptions(self, request: Request) -> Response:
        size = sum([len(piece) async for piece in request.stream()])
        return JSONResponse({"text": f"a demonstration heard {size} bytes"})

    async def images(self, request: Request) -> Response:
        body = await request.json()
        picture = b64encode(_picture(str(body.get("prompt", "")))).decode()
        return JSONResponse({"created": int(time.time()), "data": [{"b64_json": picture}]})

    async def txt2img(self, request: Request) -> Response:
        body = await request.json()
        picture = b64encode(_picture(str(body.get("prompt", "")))).decode()
        return JSONResponse({"images": [picture], "parameters": {}, "info": ""})

    async def loras(self, _: Request) -> Response:
        return JSONResponse([{"name": "none", "path": "none"}])


def _vector(text: str) -> list[float]:
    """Eight numbers of length one that depend on the text alone."""
    numbers = [random.Random(text + str(index)).uniform(-1, 1) for index in range(8)]
    length = math.sqrt(sum(number * number for number in numbers))
    return [number / length for number in numbers]


def _tone(seconds: float) -> bytes:
    """A WAV file: 16-bit mono, 440 Hz."""
    count = int(seconds * SAMPLE_RATE_HZ)
    wave = (math.sin(2 * math.pi * 440 * index / SAMPLE_RATE_HZ) for index in range(count))
    samples = b"".join(struct.pack("<h", int(8000 * value)) for value in wave)
    form = struct.pack("<IHHIIHH", 16, 1, 1, SAMPLE_RATE_HZ, 2 * SAMPLE_RATE_HZ, 2, 16)
    chunks = b"WAVEfmt " + form + b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


def _picture(prompt: str, side: int = 256) -> bytes:
    """A PNG file: a colour gradient that depends on the prompt alone."""
    red, green = random.Random(prompt).sample(range(64, 256), 2)
    rows = b"".join(
        b"\0" + b"".join(bytes((red * x // side, green * y // side, (x ^ y) % 256)) for x in range(side))
        for y in range(side)
    )

    def part(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="a demonstration server for swapyard; it makes words up")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--name", default="demo")
    parser.add_argument("--load-seconds", type=float, default=0.0)
    parser.add_argument("--tokens-per-second", type=float, default=40.0, help="0: as fast as it can")
    options = parser.parse_args()
    model = Demonstration(options.name, options.load_seconds, options.tokens_per_second)
    model.announce()
    app = Starlette(routes=Api(model).routes())
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
