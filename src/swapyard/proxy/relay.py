"""Copies one exchange: the request to the upstream, its answer to the client, bytes as they come."""

from __future__ import annotations

from swapyard.errors import Fault, UpstreamError
from swapyard.observe.exchange import Exchange
from swapyard.proxy.body import Body
from swapyard.proxy.headers import response_headers, switching_headers
from swapyard.proxy.json_members import first_values
from swapyard.proxy.json_scan import REFUSALS
from swapyard.proxy.reply import ModelReply
from swapyard.proxy.tunnel import Tunnel
from swapyard.proxy.upstreams import Answer, Upstream, UpstreamRequest
from swapyard.web.fields import is_event_stream

WRAPPED_LIMIT_BYTES = 1024 * 1024
"""Longest answer of an upstream that is passed on as one event inside a stream that we began."""

LONGEST_TOLD = 2000
"""Bytes of an upstream's error text that are repeated in ours."""

CAPTURED_REQUEST_BYTES = 8 * 1024 * 1024
"""Longest request body that is handed to the recorder; a longer one would not fit its budget anyway."""


async def relay(
    upstream: Upstream, request: UpstreamRequest, reply: ModelReply, exchange: Exchange | None
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
            await _pass_on(answer, reply)


async def _pass_on(answer: Answer, reply: ModelReply) -> None:
    """What is there of the body when the headers are leaves together with them."""
    chunk, last = answer.take(), answer.ended
    await reply.start(answer.status, response_headers(answer.headers), chunk, last=last)
    if not last:
        await _copy(answer, reply)


async def _copy(answer: Answer, reply: ModelReply) -> None:
    """Chunks that arrived in one read leave in one write; the client's pace is the upstream's pace."""
    while chunk := await answer.read():
        last = answer.ended
        await reply.write(chunk, last=last)
        if last:
            return
    await reply.write(b"", last=True)


async def _continue(answer: Answer, reply: ModelReply) -> None:
    """Put the answer behind the stream that we began: events as they are, anything else as one event."""
    if answer.status < 400 and is_event_stream(answer.headers):
        await _copy(answer, reply)
        return
    body = b""
    while chunk := await answer.read():
        body += chunk
        if len(body) > WRAPPED_LIMIT_BYTES:
            raise UpstreamError(Fault.BAD_GATEWAY, "the upstream did not send the stream that was asked for")
    is_error = answer.status >= 400
    if is_error and not _is_object(body):
        text = body[:LONGEST_TOLD].decode("utf-8", "replace").strip()
        raise UpstreamError(Fault.BAD_GATEWAY, f"the upstream answered with status {answer.status}: {text}")
    await reply.write(reply.event(body.strip(), is_error=is_error) + reply.end_mark, last=True)


def _is_object(body: bytes) -> bool:
    try:
        first_values(body)
    except REFUSALS:
        return False
    return True


async def _switch(answer: Answer, reply: ModelReply) -> None:
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
