"""What a swap costs beyond the model's own stop and start, and patterns of requests in loads and waiting.

The model's own share is measured in the same run: the same command stopped and started by hand, asked at the
first moment it listens.
"""

from __future__ import annotations

import http.client
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from rig import HERE, Rig, free_port, running, wait_for
from table import Table

READY_AFTER = {0.0: 20, 0.05: 20, 0.3: 20, 1.2: 10}
"""Seconds until a model is ready, and how many swaps are measured."""

LOAD = 0.05
"""The same for the patterns."""


def command(port: str, seconds: float, starts: Path | None = None) -> str:
    words = [sys.executable, "-S", "-E", str(HERE / "model_server.py"), port, f"{seconds:g}"]
    return shlex.join([*words, *([str(starts)] if starts else [])]).replace("'", "")


@dataclass
class ByHand:
    """A swap without anybody in between: stop one, start the other, ask it when it listens."""

    seconds: float
    _running: subprocess.Popen[bytes] | None = None

    def first_byte(self) -> float:
        port = free_port()
        begun = time.monotonic()
        self.stop()
        self._running = subprocess.Popen(shlex.split(command(str(port), self.seconds)))
        wait_for(port)
        ask(port, "any")
        return time.monotonic() - begun

    def stop(self) -> None:
        if self._running is not None:
            self._running.terminate()
            self._running.wait()
            self._running = None


def ask(port: int, model: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hello"}]})
    connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{model}: {answer.status} {text!r}")


def first_byte(port: int, model: str) -> float:
    begun = time.monotonic()
    ask(port, model)
    return time.monotonic() - begun


def unload(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/unload")
    connection.getresponse().read()
    connection.close()


def config(rig: Rig, name: str, models: Sequence[str], seconds: float, more: str = "") -> Path:
    file = rig.folder / f"{name}.yaml"
    starts = rig.folder / f"{name}.starts"
    starts.write_text("")
    text = more + "models:\n"
    for model in models:
        text += f"  {model}:\n    cmd: {command('${PORT}', seconds, starts)}\n    checkEndpoint: /health\n"
    file.write_text(text)
    return file


def dead_time(rig: Rig, commands: Mapping[str, str], times: Mapping[float, int] = READY_AFTER) -> Table:
    table = Table("time to the first byte", ["by hand", *commands])
    for seconds, swaps in times.items():
        by_hand = ByHand(seconds)
        for kind in ("load", "swap"):
            for name, line in commands.items():
                port = free_port()
                file = config(rig, f"dead-{name}", ("a", "b"), seconds)
                filled = line.format(config=file, listen=f"127.0.0.1:{port}")
                with running(filled, rig.folder / f"dead-{name}.log"):
                    wait_for(port)
                    time.sleep(0.5)
                    ask(port, "b")
                    by_hand.first_byte()
                    for number in range(swaps):
                        if kind == "load":
                            by_hand.stop()
                            unload(port)
                        own = by_hand.first_byte()
                        took = first_byte(port, "ab"[number % 2])
                        row = f"{kind}, model ready after {seconds * 1000:g} ms"
                        table.add(row, "ms", "by hand", own * 1e3)
                        table.add(row, "ms", name, took * 1e3)
                        table.add(f"{row}: dead time", "ms", name, (took - own) * 1e3)
        by_hand.stop()
    return table


@dataclass
class Pattern:
    """What several clients ask for, each one model after the other, with a pause between two requests."""

    name: str
    clients: list[list[str]]
    pause: float = 0.0
    models: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.models = sorted({model for client in self.clients for model in client})


PATTERNS = (
    Pattern("one client, ABCABC...", [list("abc" * 6)]),
    Pattern("three clients, one model each", [["a"] * 8, ["b"] * 8, ["c"] * 8]),
    Pattern("two agents, plan once and code thrice", [list("abbb" * 4)] * 2, pause=0.01),
    Pattern("one busy model, three rare ones", [["a"] * 60, list("bcd" * 2)], pause=0.02),
)


def play(port: int, pattern: Pattern) -> float:
    """Seconds that all requests of the pattern waited, together."""

    def client(models: list[str]) -> float:
        waited = 0.0
        for model in models:
            waited += first_byte(port, model)
            time.sleep(pattern.pause)
        return waited

    with ThreadPoolExecutor(len(pattern.clients)) as threads:
        return sum(threads.map(client, pattern.clients))


def patterns(rig: Rig, commands: Mapping[str, str], rounds: int) -> Table:
    table = Table("request patterns, models ready after 50 ms", list(commands))
    for pattern in PATTERNS:
        for _ in range(rounds):
            for name, line in commands.items():
                port = free_port()
                label = name.replace(", ", "-")
                more = "routing:\n  scheduler:\n    use: fifo\n" if name.endswith(", fifo") else ""
                file = config(rig, label, pattern.models, LOAD, more)
                filled = line.format(config=file, listen=f"127.0.0.1:{port}")
                with running(filled, rig.folder / f"{label}.log"):
                    wait_for(port)
                    waited = play(port, pattern)
                loads = len((rig.folder / f"{label}.starts").read_text().splitlines())
                table.add(f"{pattern.name}: loads", "", name, loads)
                table.add(f"{pattern.name}: waiting", "s", name, waited)
    return table
