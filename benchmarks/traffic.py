"""Small chat requests: latency, throughput, processor time, memory.  wrk asks, nginx answers."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from rig import HERE, Contestant, cpu_seconds, memory_mb
from table import Table

CLIENTS = (1, 16, 64)


def wrk(port: int, clients: int, seconds: float) -> tuple[float, float, float, float]:
    """(p50 and p99 in microseconds, requests, requests a second)."""
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds:g}s", "-s", str(HERE / "chat.lua")]
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    output = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    line = next(line for line in output.splitlines() if line.startswith("FIGURES"))
    p50, p99, _, requests, microseconds, errors = map(float, line.split()[1:])
    if errors:
        raise RuntimeError(f"{errors:g} of {requests:g} requests failed")
    return p50, p99, requests, requests / microseconds * 1e6


def measure(contestants: Sequence[Contestant], rounds: int, seconds: int) -> Table:
    table = Table("small chat request", [contestant.name for contestant in contestants])
    direct = contestants[0]
    for contestant in contestants:
        wrk(contestant.chat, 16, 1)
    for _ in range(rounds):
        for clients in CLIENTS:
            who = "1 client" if clients == 1 else f"{clients} clients"
            base = 0.0
            for contestant in contestants:
                before = cpu_seconds(contestant.pid) if contestant.pid else 0.0
                p50, p99, requests, rate = wrk(contestant.chat, clients, seconds)
                table.add(f"latency p50, {who}", "us", contestant.name, p50)
                table.add(f"latency p99, {who}", "us", contestant.name, p99)
                table.add(f"requests, {who}", "1/s", contestant.name, rate)
                if contestant is direct:
                    base = p50
                    continue
                table.add(f"added p50, {who}", "us", contestant.name, p50 - base)
                table.add(f"added p50 over direct p50, {who}", "ratio", contestant.name, (p50 - base) / base)
                assert contestant.pid is not None
                used = (cpu_seconds(contestant.pid) - before) / requests
                table.add(f"processor time a request, {who}", "us", contestant.name, used * 1e6)
    return table


def memory(contestants: Sequence[Contestant], requests: int = 20_000) -> dict[str, float]:
    """Resident memory in MB after so many requests of 16 clients, these included that came before."""
    held = {}
    for contestant in contestants:
        if contestant.pid is None:
            continue
        done = 0.0
        while done < requests:
            done += wrk(contestant.chat, 16, 1)[2]
        held[contestant.name] = memory_mb(contestant.pid)
    return held
