"""Copies one exchange: the request to the upstream, its answer to the client, bytes as they come."""

from __future__ import annotations

from swapyard.errors import Fault, UpstreamError
from swapyard.observe.exchange import Exchange
from swapyard.proxy.body import Body
from swapyard.proxy.headers import is_event_stream, response_headers, switching_headers
from swapyard.proxy.reply import WRAPPED_LIMIT_BYTES, Reply
from swapyard.proxy.tunnel import Tunnel
from swapyard.proxy.upstreams import Answer, Upstream, UpstreamRequest
from swapyard.web import sse

CAPTURED_REQUEST_BYTES = 8 * 1024 * 1024
"""Longest request body that is handed to the recorder; a longer one would not fit its budget anyway."""


async def relay(
    upstream: Upstream, request: UpstreamRequest, reply: Reply, exchange: Exchange | None
) -> None:
    """Ask the upstream and pass its answer on.

    RequestError when it cannot be reached or breaks off; `reply` knows what has gone out by then.  The
    client's leaving cancels this task, which closes the upstream's connection at once.
    """
    if exchange is not None:
        exchange.asked(_to_capture(request))
    async with upstream.exchange(request) as answer:
        if answer.status == 101:
            await _switch(answer, reply)
        elif reply.is_ours:
            await _continue(answer, reply)
        else:
            await reply.start(answer.status, response_headers(answer.headers))
            await _copy(answer, reply)


async def _copy(answer: Answer, reply: Reply) -> None:
    """Chunks that arrived in one read leave in one write; the client's pace is the upstream's pace."""
    while chunk := await answer.read():
        last = answer.ended
        await reply.write(chunk, last=last)
        if last:
            return
    await reply.write(b"", last=True)


async def _continue(answer: Answer, reply: Reply) -> None:
    """Put the answer behind the stream that we began: events as they are, anything else as one event."""
    if answer.status < 400 and is_event_stream(answer.headers):
        await _copy(answer, reply)
        return
    body = b""
    while len(body) < WRAPPED_LIMIT_BYTES and (chunk := await answer.read()):
        body += chunk
    lines = body.strip().splitlines() or [b'{"error":{"message":"HTTP %d"}}' % answer.status]
    await reply.insert(b"".join(b"data: " + line + b"\n" for line in lines) + b"\n" + sse.DONE, last=True)


async def _switch(answer: Answer, reply: Reply) -> None:
    """An upgrade was agreed: from here on bytes flow both ways until either side ends."""
    upstream, from_upstream = answer.tunnel()
    client, from_client = reply.take_over(101, switching_headers(answer.headers))
    await Tunnel(client, upstream, from_client=from_client, from_upstream=from_upstream).run()


def _to_capture(request: UpstreamRequest) -> bytes | None:
    body = request.body
    if isinstance(body, bytes):
        return body
    if isinstance(body, Body) and body.length <= CAPTURED_REQUEST_BYTES:
        return bytes(body.view())
    return None


def not_reached(error: UpstreamError, peer: str) -> UpstreamError:
    """A peer's failure names the peer."""
    if error.fault is Fault.BAD_GATEWAY:
        return UpstreamError(error.fault, f"peer proxy error: {peer}: {error.message}")
    return error
