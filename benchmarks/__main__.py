"""Measures swapyard, and another server if one is named, against a direct connection to the same upstreams.

    python benchmarks [--other COMMAND] [--only PART,...] [--quick]

COMMAND is the other server's command line with `{config}` and `{listen}` in it, for example
`llama-swap -config {config} -listen {listen}`.  The parts are start, traffic, streams, bodies, odd-bodies,
swaps, patterns and scheduler.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable

import bodies
import odd_bodies
import scheduler
import starts
import streams
import swaps
import traffic
from rig import Contestant, Rig

PARTS = ("start", "traffic", "streams", "bodies", "odd-bodies", "swaps", "patterns", "scheduler")


class Bench:
    """One run: every part interleaves its contestants, round by round."""

    def __init__(self, rig: Rig, commands: dict[str, str], quick: bool) -> None:
        self._rig = rig
        self._commands = commands
        self._rounds = 2 if quick else 5
        self._quick = quick
        self._contestants: list[Contestant] = []

    def run(self, part: str) -> None:
        work: dict[str, Callable[[], None]] = {
            "start": self._start,
            "traffic": self._traffic,
            "streams": self._streams,
            "bodies": self._bodies,
            "odd-bodies": self._odd_bodies,
            "swaps": self._swaps,
            "patterns": self._patterns,
            "scheduler": scheduler.show,
        }
        work[part]()

    def _running(self) -> list[Contestant]:
        if not self._contestants:
            self._contestants.append(self._rig.direct())
            for name, command in self._commands.items():
                self._contestants.append(self._rig.between(name, command))
        return self._contestants

    def _fresh(self, part: str) -> list[Contestant]:
        """The same with servers that have done nothing yet: memory freed before would hide what is taken."""
        servers = [self._rig.between(name, command, part) for name, command in self._commands.items()]
        return [self._running()[0], *servers]

    def _start(self) -> None:
        starts.measure(self._rig, self._commands, self._rounds).show()

    def _traffic(self) -> None:
        contestants = self._running()
        table = traffic.measure(contestants, self._rounds, seconds=1 if self._quick else 2)
        for name, held in traffic.memory(contestants).items():
            table.add("resident memory after 20,000 requests and more", "MB", name, held)
        table.show()

    def _streams(self) -> None:
        contestants = self._running()
        table = streams.measure(contestants, 2 if self._quick else 3, seconds=3)
        for contestant in self._fresh("streams")[1:]:
            table.add(
                "memory for each of 1,000 open streams", "kB", contestant.name, streams.memory(contestant)
            )
        table.show()

    def _bodies(self) -> None:
        bodies.measure(self._fresh("bodies"), 2 if self._quick else 3).show()

    def _odd_bodies(self) -> None:
        odd_bodies.measure(self._fresh("odd-bodies")[1:], 2 if self._quick else 5).show()

    def _swaps(self) -> None:
        times = {0.0: 4, 0.3: 4} if self._quick else swaps.READY_AFTER
        swaps.dead_time(self._rig, self._commands, times).show()

    def _patterns(self) -> None:
        commands = dict(self._commands)
        commands["swapyard, fifo"] = commands["swapyard"]
        swaps.patterns(self._rig, commands, 1 if self._quick else 3).show()


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--other", metavar="COMMAND", help="another server's command line")
    parser.add_argument("--only", metavar="PART,...", default=",".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    options = parser.parse_args()
    missing = [tool for tool in ("wrk", "nginx") if shutil.which(tool) is None]
    if missing:
        sys.exit(f"the benchmark needs {' and '.join(missing)} (Debian: apt-get install wrk nginx-light)")
    command = os.path.join(os.path.dirname(sys.executable), "swapyard")
    commands = {"swapyard": f"{command} --config {{config}} --listen {{listen}}"}
    if options.other:
        commands["other"] = options.other
    version = platform.python_version()
    print(
        f"Python {version}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; medians [minimum..maximum]"
    )
    begun = time.monotonic()
    with Rig() as rig:
        bench = Bench(rig, commands, options.quick)
        for part in options.only.split(","):
            bench.run(part)
    print(f"\n{time.monotonic() - begun:.0f} s in all")


if __name__ == "__main__":
    main()
