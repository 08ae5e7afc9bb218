"""Long JSON bodies on their way to an upstream: seconds, processor time, memory."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence

from rig import Contestant, PeakMemory, cpu_seconds
from table import Table

MB = 1_000_000


def body(size: int) -> bytes:
    """A chat request with one long picture, as clients send them."""
    head = b'{"model":"tokens","messages":[{"role":"user","content":[{"type":"image_url","image_url":'
    head += b'{"url":"data:'
    tail = b'"}}]}],"max_tokens":1}'
    return head + b"A" * (size - len(head) - len(tail)) + tail


def send(port: int, payload: bytes) -> float:
    """Seconds until the answer to this request is there."""
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", port)) as sock:
        begun = time.monotonic()
        sock.sendall(head + b"content-length: %d\r\n\r\n" % len(payload))
        sock.sendall(payload)
        answer = sock.recv(65536)
        took = time.monotonic() - begun
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"the body was not taken: {answer[:200]!r}")
    return took


def measure(contestants: Sequence[Contestant], rounds: int) -> Table:
    table = Table("long request bodies", [contestant.name for contestant in contestants])
    for contestant in contestants:  # the model is loaded
        send(contestant.tokens, body(300))
    for megabytes in (10, 100):
        payload = body(megabytes * MB)
        for _ in range(rounds):
            for contestant in contestants:
                name, pid = contestant.name, contestant.pid
                if pid is None:
                    table.add(f"{megabytes} MB", "ms", name, send(contestant.tokens, payload) * 1e3)
                    continue
                used = cpu_seconds(pid)
                with PeakMemory(pid) as memory, PeakMemory(pid, "VmRSS") as resident:
                    took = send(contestant.tokens, payload)
                table.add(f"{megabytes} MB", "ms", name, took * 1e3)
                table.add(f"{megabytes} MB, processor time", "ms", name, (cpu_seconds(pid) - used) * 1e3)
                table.add(f"{megabytes} MB, memory of its own", "MB", name, memory.taken_mb)
                table.add(f"{megabytes} MB, with pages of the mapped file", "MB", name, resident.taken_mb)
    return table
