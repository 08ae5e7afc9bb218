"""Minutes of mixed load, with captures and without: what the program holds at the end, and what it may hold.

    python benchmarks/soak.py [--seconds 600]

Memory, descriptors, threads and tasks of the last tenth are held against those of minute two; in a run below
five minutes, against the end of the first quarter.  Exits with 1 when a bound is broken or something was
not answered as it should be.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from statistics import median

import psutil
from rig import HERE, Rig, free_port, running, wait_for
from soak_load import POOL, STEADY, Load

CAPTURE_BUFFER_MIB = 5
SAMPLES_EVERY = 0.5
SHORT_SECONDS = 300.0
"""Below this much, the first quarter stands for minute two."""


@dataclass(frozen=True)
class Bound:
    """How much more there may be at the end; `share` of what there was, and `more`."""

    unit: str
    share: float
    more: float
    # While everything is still growing to its size.
    more_when_short: float


BOUNDS = {
    "resident memory": Bound("MB", 0.1, 20, 60),
    "descriptors": Bound("", 0, 16, 32),
    "threads": Bound("", 0, 2, 8),
    "tasks": Bound("", 0, 16, 32),
}

CAPTURES_COST_MB = CAPTURE_BUFFER_MIB * 1.048576 + 60
"""How much more resident memory there may be with captures than without."""

CONFIG = """\
globalTTL: 600
logToStdout: none
captureBuffer: {buffer}
models:
{models}
groups:
  taking_turns: {{swap: true, exclusive: false, members: [{pool}]}}
  still: {{swap: false, exclusive: false, persistent: true, members: [{steady}]}}
"""


@dataclass
class Soaked:
    """A program under load, and what was seen of it: (seconds, values by name)."""

    name: str
    pid: int
    port: int
    load: Load
    samples: list[tuple[float, dict[str, float]]] = field(default_factory=list)

    def look(self, at: float) -> None:
        process = psutil.Process(self.pid)
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=30) as answer:
            tasks = re.search(r"^swapyard_tasks (\d+)$", answer.read().decode(), re.MULTILINE)
        assert tasks is not None
        values = {
            "resident memory": process.memory_info().rss / 1e6,
            "descriptors": float(process.num_fds()),
            "threads": float(process.num_threads()),
            "tasks": float(tasks[1]),
        }
        self.samples.append((at, values))

    def seen(self, name: str, since: float, until: float) -> float:
        """The median of what was seen in this time."""
        return median(values[name] for at, values in self.samples if since <= at <= until)


@contextmanager
def soaked(rig: Rig, name: str, buffer_mib: int) -> Iterator[Soaked]:
    models = "".join(
        f'  {model}: {{cmd: "{sys.executable} {HERE / "soak_model.py"} ${{PORT}}"}}\n'
        for model in (*POOL, STEADY)
    )
    config = rig.folder / f"{name}.yaml"
    text = CONFIG.format(buffer=buffer_mib, models=models, pool=", ".join(POOL), steady=STEADY)
    config.write_text(f"startPort: {free_ports(len(POOL) + 1)}\n{text}")
    port = free_port()
    command = os.path.join(os.path.dirname(sys.executable), "swapyard")
    words = [command, "-config", str(config), "-listen", f"127.0.0.1:{port}"]
    with running(words, rig.folder / f"{name}.log") as process:
        wait_for(port)
        yield Soaked(name, process.pid, port, Load(port, config))


async def soak(programs: list[Soaked], seconds: float) -> None:
    """Load all of them alike, and look at them all the while."""
    begun = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        loads = [tasks.create_task(program.load.run(), name=program.name) for program in programs]
        while (at := time.monotonic() - begun) < seconds:
            for program in programs:
                await asyncio.to_thread(program.look, at)
            await asyncio.sleep(SAMPLES_EVERY)
        for load in loads:
            load.cancel()


def judge(programs: list[Soaked], seconds: float) -> list[str]:
    """Print the table; what is wrong with it."""
    is_short = seconds < SHORT_SECONDS
    reference = (seconds / 8, seconds / 4) if is_short else (60.0, 120.0)
    end = (seconds * 0.9, seconds)
    wrong = []
    print(f"{'':34}{f'{reference[0]:.0f}..{reference[1]:.0f} s':>14}{'at the end':>14}{'at most':>14}")
    for program in programs:
        for name, bound in BOUNDS.items():
            before, after = program.seen(name, *reference), program.seen(name, *end)
            most = before * (1 + bound.share) + (bound.more_when_short if is_short else bound.more)
            unit = f", {bound.unit}" if bound.unit else ""
            title = f"{program.name}: {name}{unit}"
            print(f"{title:34}{before:>14.1f}{after:>14.1f}{most:>14.1f}")
            if after > most:
                wrong.append(f"{program.name}: {name} {after:.1f}, at most {most:.1f}")
        for what, times in program.load.failed.items():
            wrong.append(f"{program.name}: {times} × {what}")
    with_captures, without = (program.seen("resident memory", *end) for program in programs)
    print(f"{'what captures cost, MB':34}{'':>14}{with_captures - without:>14.1f}{CAPTURES_COST_MB:>14.1f}")
    if with_captures - without > CAPTURES_COST_MB:
        wrong.append(f"captures cost {with_captures - without:.1f} MB, at most {CAPTURES_COST_MB:.1f}")
    for program in programs:
        done = ", ".join(f"{number:,} {what}" for what, number in sorted(program.load.done.items()))
        print(f"{program.name}: {done}")
    return wrong


def free_ports(number: int) -> int:
    """The first of so many in a row that no outgoing connection is given: they are free between two loads."""
    while True:
        first = random.randrange(20_000, 32_000)
        with ExitStack() as held, suppress(OSError):
            for port in range(first, first + number):
                held.enter_context(socket.create_server(("127.0.0.1", port)))
            return first


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    options = parser.parse_args()
    with Rig() as rig, ExitStack() as stack:
        programs = [
            stack.enter_context(soaked(rig, name, buffer_mib))
            for name, buffer_mib in (("captures on", CAPTURE_BUFFER_MIB), ("captures off", 0))
        ]
        asyncio.run(soak(programs, options.seconds))
        wrong = judge(programs, options.seconds)
    for what in wrong:
        print(f"WRONG: {what}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
