"""A model for the soak: answers chats, streams at a pace, and echoes what comes over a websocket.

    python benchmarks/soak_model.py PORT

A JSON request with `count` gets that many events, `pause` seconds apart.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import sys

STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n%b\r\n"
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"token %d "}}]}\n\n'
USAGE = {"prompt_tokens": 1000, "completion_tokens": 100}
WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
LONGEST_HEAD_BYTES = 64 * 1024


async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
            if b"upgrade" in fields:
                await echo(reader, writer, fields[b"sec-websocket-key"])
                return
            body = await reader.readexactly(int(fields.get(b"content-length", b"0")))
            asked = json.loads(body) if body else {}
            if "count" in asked:
                await stream(writer, asked["count"], asked["pause"])
            else:
                text = json.dumps({"choices": [{"message": {"content": "ok"}}], "usage": USAGE}).encode()
                writer.write(ANSWER % (len(text), text))
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def stream(writer: asyncio.StreamWriter, count: int, pause: float) -> None:
    writer.write(STREAM)
    for number in range(count):
        chunk(writer, EVENT % number)
        await writer.drain()
        await asyncio.sleep(pause)
    chunk(writer, b"data: [DONE]\n\n")
    writer.write(b"0\r\n\r\n")


def chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%b\r\n" % (len(data), data))


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: bytes) -> None:
    """Bytes as they come: nobody in between looks into the frames."""
    accept = base64.b64encode(hashlib.sha1(key + WEBSOCKET_GUID).digest())
    writer.write(SWITCH % (b"sec-websocket-accept: " + accept + b"\r\n"))
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def main(port: int) -> None:
    server = await asyncio.start_server(converse, "127.0.0.1", port, limit=LONGEST_HEAD_BYTES)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
