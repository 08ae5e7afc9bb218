"""A WebSocket server with a health check, built on the `websockets` library.

It agrees to the subprotocol `realtime.v1` if that is offered.  What it does with a connection depends on the
path: `/flood` sends 64 KiB messages for as long as somebody reads them, `/close` closes at once with code
4001; else messages are echoed, and the text `close 4002 reason` closes with that code and reason.
"""

from __future__ import annotations

import asyncio
import http
import sys
from collections.abc import Sequence

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

MESSAGE = b"x" * 65536
SUBPROTOCOL = Subprotocol("realtime.v1")


def answer_plain(connection: ServerConnection, request: Request) -> Response | None:
    """A request that is no WebSocket handshake is a health check."""
    if request.headers.get("Upgrade") is None:
        return connection.respond(http.HTTPStatus.OK, "ok\n")
    return None


def agree(connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    return SUBPROTOCOL if SUBPROTOCOL in offered else None


async def converse(connection: ServerConnection) -> None:
    assert connection.request is not None
    path = connection.request.path.partition("?")[0]
    try:
        if path.endswith("/flood"):
            await flood(connection)
        elif path.endswith("/close"):
            await connection.close(4001, "not today")
        else:
            await echo(connection)
    except (ConnectionClosed, AttributeError):
        # The library aborts a transport that was lost within the same turn of the loop: an AttributeError.
        pass
    print(f"closed {connection.close_code} {connection.close_reason}", flush=True)


async def flood(connection: ServerConnection) -> None:
    sent = 0
    while True:
        await connection.send(MESSAGE)
        sent += 1
        print(f"sent {sent}", flush=True)


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        if isinstance(message, str) and message.startswith("close "):
            _, code, reason = message.split(" ", 2)
            await connection.close(int(code), reason)
            return
        await connection.send(message)


async def main(port: int) -> None:
    listening = serve(
        converse,
        "127.0.0.1",
        port,
        process_request=answer_plain,
        select_subprotocol=agree,
        compression=None,
        max_size=None,
    )
    async with listening:
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
