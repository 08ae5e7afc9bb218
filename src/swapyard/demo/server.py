"""A small OpenAI- and Anthropic-compatible server that makes words up: a demonstration, not a model.

Run by `swapyard demo` as a child process, and by tests that need an inference server which costs nothing.
A chat request may say word for word what it wants to hear: see `swapyard.demo.script`.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from swapyard.demo.media import picture, tone
from swapyard.demo.model import Demonstration, Reply, count_tokens, event, limit_of, prompt_of, words


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

    async def spoken(self, reply: Reply) -> AsyncIterator[str]:
        async for piece in self._model.paced(reply.pieces, reply.script.pace):
            yield piece

    async def thought(self, reply: Reply) -> AsyncIterator[str]:
        async for piece in self._model.paced(reply.script.thoughts(), reply.script.pace):
            yield piece

    async def chat(self, request: Request) -> Response:
        body = await request.json()
        reply = Reply.to(body)
        if (other := reply.instead()) is not None:
            return other
        shape = {"id": "demo", "created": int(time.time()), "model": self._model.name}
        usage = {
            "prompt_tokens": reply.prompt_tokens,
            "completion_tokens": reply.tokens,
            "total_tokens": reply.prompt_tokens + reply.tokens,
        }
        begun = time.monotonic()

        def timings() -> dict[str, Any]:
            return self._model.timings(reply.prompt_tokens, reply.tokens, time.monotonic() - begun)

        if not body.get("stream"):
            message = {"role": "assistant", "content": "".join([piece async for piece in self.spoken(reply)])}
            if reply.script.think:
                message["reasoning_content"] = reply.script.think
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            whole = {"object": "chat.completion", "choices": [choice], "usage": usage, "timings": timings()}
            return JSONResponse({**shape, **whole})

        def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
            choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
            return event({**shape, "object": "chat.completion.chunk", "choices": choices, **more})

        async def stream() -> AsyncIterator[bytes]:
            yield chunk({"role": "assistant", "content": ""})
            async for piece in self.thought(reply):
                yield chunk({"reasoning_content": piece})
            async for piece in self.spoken(reply):
                yield chunk({"content": piece})
            if reply.script.error:
                yield event({"error": reply.error()})
                return
            yield chunk({}, "stop", usage=usage, timings=timings())
            yield b"data: [DONE]\n\n"

        return StreamingResponse(stream(), media_type="text/event-stream")

    async def completions(self, request: Request) -> Response:
        body = await request.json()
        prompt, tokens = prompt_of(body), limit_of(body)
        text = "".join([word async for word in self._model.paced(words(tokens, prompt))])
        usage = {"prompt_tokens": count_tokens(prompt), "completion_tokens": tokens}
        choice = {"index": 0, "text": text, "finish_reason": "length"}
        return JSONResponse({"object": "text_completion", "choices": [choice], "usage": usage})

    async def responses(self, request: Request) -> Response:
        body = await request.json()
        reply = Reply.to(body)
        if (other := reply.instead()) is not None:
            return other
        usage = {"input_tokens": reply.prompt_tokens, "output_tokens": reply.tokens}

        def whole(text: str, status: str, **more: Any) -> dict[str, Any]:
            content = [{"type": "output_text", "text": text}]
            output = [{"type": "message", "role": "assistant", "content": content}]
            about = {"id": "demo", "object": "response", "status": status}
            return {**about, "output": output, "usage": usage, **more}

        if not body.get("stream"):
            return JSONResponse(whole("".join([piece async for piece in self.spoken(reply)]), "completed"))

        async def stream() -> AsyncIterator[bytes]:
            created = {"type": "response.created", "response": whole("", "in_progress")}
            yield event(created, "response.created")
            async for piece in self.thought(reply):
                kind = "response.reasoning_summary_text.delta"
                yield event({"type": kind, "output_index": 0, "delta": piece}, kind)
            async for piece in self.spoken(reply):
                kind = "response.output_text.delta"
                yield event({"type": kind, "output_index": 0, "delta": piece}, kind)
            if reply.script.error:
                failed = whole(reply.text, "failed", error=reply.error())
                yield event({"type": "response.failed", "response": failed}, "response.failed")
                return
            done = {"type": "response.completed", "response": whole(reply.text, "completed")}
            yield event(done, "response.completed")

        return StreamingResponse(stream(), media_type="text/event-stream")

    async def messages(self, request: Request) -> Response:
        body = await request.json()
        reply = Reply.to(body)
        if (other := reply.instead()) is not None:
            return other
        shape = {"id": "demo", "type": "message", "role": "assistant", "model": self._model.name}
        usage = {"input_tokens": reply.prompt_tokens, "output_tokens": reply.tokens}
        if not body.get("stream"):
            text = "".join([piece async for piece in self.spoken(reply)])
            content = [{"type": "text", "text": text}]
            return JSONResponse({**shape, "content": content, "stop_reason": "end_turn", "usage": usage})

        async def block(index: int, kind: str, pieces: AsyncIterator[str]) -> AsyncIterator[bytes]:
            opened = {"index": index, "content_block": {"type": kind, kind: ""}}
            yield event({"type": "content_block_start", **opened}, "content_block_start")
            async for piece in pieces:
                said = {"index": index, "delta": {"type": f"{kind}_delta", kind: piece}}
                yield event({"type": "content_block_delta", **said}, "content_block_delta")
            yield event({"type": "content_block_stop", "index": index}, "content_block_stop")

        async def stream() -> AsyncIterator[bytes]:
            start = {**shape, "content": [], "usage": {**usage, "output_tokens": 1}}
            yield event({"type": "message_start", "message": start}, "message_start")
            if reply.script.think:
                async for data in block(0, "thinking", self.thought(reply)):
                    yield data
            async for data in block(int(bool(reply.script.think)), "text", self.spoken(reply)):
                yield data
            if reply.script.error:
                yield event({"type": "error", "error": reply.error()}, "error")
                return
            end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
            yield event({**end, "usage": {"output_tokens": reply.tokens}}, "message_delta")
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
        return Response(tone(0.05 * min(len(str(body.get("input", ""))), 200)), media_type="audio/wav")

    async def voices(self, _: Request) -> Response:
        return JSONResponse({"voices": ["low", "high"]})

    async def transcriptions(self, request: Request) -> Response:
        size = sum([len(piece) async for piece in request.stream()])
        return JSONResponse({"text": f"a demonstration heard {size} bytes"})

    async def images(self, request: Request) -> Response:
        body = await request.json()
        drawn = b64encode(picture(str(body.get("prompt", "")))).decode()
        return JSONResponse({"created": int(time.time()), "data": [{"b64_json": drawn}]})

    async def txt2img(self, request: Request) -> Response:
        body = await request.json()
        prompt, count = str(body.get("prompt", "")), body.get("batch_size")
        count = min(count, 8) if isinstance(count, int) and count > 0 else 1
        pictures = [b64encode(picture(f"{prompt} {number}")).decode() for number in range(count)]
        return JSONResponse({"images": pictures, "parameters": body, "info": ""})

    async def loras(self, _: Request) -> Response:
        return JSONResponse([{"name": "none", "path": "none"}])


def _vector(text: str) -> list[float]:
    """Eight numbers of length one that depend on the text alone."""
    numbers = [random.Random(text + str(index)).uniform(-1, 1) for index in range(8)]
    length = math.sqrt(sum(number * number for number in numbers))
    return [number / length for number in numbers]


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
