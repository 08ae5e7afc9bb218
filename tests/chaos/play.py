"""Plays one schedule against the program and judges everything that came of it."""

from __future__ import annotations

import heapq
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from tests.chaos.clients import Client, Ended
from tests.chaos.oracle import complaint
from tests.chaos.schedule import Blow, Deed, Event, Policy, Schedule, make
from tests.chaos.wall_clock import NOT_HERE
from tests.chaos.world import World
from tests.conftest import hold_ports
from tests.end_to_end.conftest import MODEL_PORTS, ROOT

TICK = 0.02


@dataclass
class Result:
    """What came of it; sound when there are no complaints."""

    outcomes: Counter[str] = field(default_factory=Counter)
    blows: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def play(folder: Path, seed: int, policy: Policy, seconds: float) -> Result:
    schedule = make(seed, policy, seconds)
    result = Result()
    with peer() as peer_port, hold_ports(1 + MODEL_PORTS) as port:
        world = World(folder, port, policy, peer_port)
        if not world.clock.is_here:
            result.skipped.append(NOT_HERE)
        try:
            world.start()
            world.warm_up()
            before = world.rest()
            ended = _all_of_it(world, schedule, seconds, result)
            result.complaints += world.comes_to_rest(before)
        finally:
            result.complaints += world.end()
    for one in ended:
        result.outcomes[_kind(one)] += 1
        if why := complaint(one, world.befallen):
            result.complaints.append(f"{one.deed.act} of {one.deed.model} (#{one.deed.number}): {why}")
    return result


@contextmanager
def peer() -> Iterator[int]:
    """The port of a server that swapyard does not supervise."""
    command = [sys.executable, "-S", "-m", "tests.hostile.obedient_model", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def _all_of_it(world: World, schedule: Schedule, seconds: float, result: Result) -> list[Ended]:
    begun = time.monotonic()
    ended: list[Ended] = []
    clients = [
        threading.Thread(target=_ask, args=(world.port, deeds, begun + seconds, ended))
        for deeds in schedule.deeds
    ]
    for client in clients:
        client.start()
    try:
        _strike(world, schedule.events, begun, result)
    finally:
        for client in clients:
            client.join()
    return ended


def _ask(port: int, deeds: list[Deed], deadline: float, ended: list[Ended]) -> None:
    client = Client(port)
    for deed in deeds:
        if time.monotonic() > deadline:
            break
        ended.append(client.do(deed))
    client.close()


def _strike(world: World, events: list[Event], begun: float, result: Result) -> None:
    """Blow by blow; every one that lasts is over when this returns."""
    order = count()
    due: list[tuple[float, int, Callable[[], None]]] = []

    def later(at: float, action: Callable[[], None]) -> None:
        heapq.heappush(due, (at, next(order), action))

    def strike(event: Event) -> None:
        result.blows[event.blow] += 1
        if (over := world.strike(event)) is not None:
            later(event.at + event.seconds, over)

    for event in events:
        if event.blow is not Blow.CLOCK_JUMP or world.clock.is_here:
            later(event.at, lambda event=event: strike(event))  # type: ignore[misc]
    while due:
        at, _, action = heapq.heappop(due)
        time.sleep(max(0.0, begun + at - time.monotonic()))
        action()


def _kind(ended: Ended) -> str:
    if ended.is_good:
        return f"{ended.deed.act}: as asked"
    return f"{ended.deed.act}: {ended.code or ended.status}{', cut' if ended.is_cut else ''}"
