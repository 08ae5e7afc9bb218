"""Answers every request at once with the same few bytes: for tests that need very many of them.

python -m tests.end_to_end.servers.quick PORT
"""

from __future__ import annotations

import asyncio
import json
import sys

USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
CHOICE = {"index": 0, "message": {"role": "assistant", "content": "quick"}, "finish_reason": "stop"}
BODY = json.dumps({"object": "chat.completion", "choices": [CHOICE], "usage": USAGE}).encode()
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
    len(BODY),
    BODY,
)


class Connection(asyncio.Protocol):
    """Requests are short and come one at a time: a head, and a body of the length it names."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if end and len(body) >= _content_length(head):
            self._received = b""
            self._transport.write(ANSWER)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
