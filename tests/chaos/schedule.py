"""A seed → what the clients ask and what befalls the models, when; the same seed, the same schedule."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

CLIENTS = 8
ACTS_EACH = 2000
"""More than any client gets through."""

PAUSE = (0.3, 1.2)
"""Seconds between two blows, at least and at most."""


class Policy(StrEnum):
    SERIAL = "serial"
    FIFO = "fifo"
    GROUPS = "groups"
    MATRIX = "matrix"


VICTIMS = ("m1", "m2", "m3")
BYSTANDER = "m0"
"""Shares everything with the victims; only swaps unload it."""

SOMETIMES = "m4"
"""In the configuration or not, as the reloads go."""

PEER = "far"
CALM = "calm"
"""Has a group of its own, where there are groups."""


class Act(StrEnum):
    """What a client does once."""

    CHAT = "chat"
    STREAM = "stream"
    BIG_REQUEST = "big request"
    SLOW_UPLOAD = "slow upload"
    SLOW_READER = "slow reader"
    LEAVES_WAITING = "leaves while it waits"
    LEAVES_IN_STREAM = "leaves within a stream"
    HANGING_STREAM = "leaves a stream that hangs"
    HALF_CLOSES = "half-closes"
    BAD_BODY = "bad body"
    GARBAGE = "garbage"
    LOOKS = "looks at the control plane"


WEIGHTS = {
    Act.CHAT: 10,
    Act.STREAM: 6,
    Act.BIG_REQUEST: 2,
    Act.SLOW_UPLOAD: 2,
    Act.SLOW_READER: 2,
    Act.LEAVES_WAITING: 3,
    Act.LEAVES_IN_STREAM: 2,
    Act.HANGING_STREAM: 1,
    Act.HALF_CLOSES: 1,
    Act.BAD_BODY: 2,
    Act.GARBAGE: 3,
    Act.LOOKS: 3,
}


@dataclass(frozen=True)
class Deed:
    """One act; `number` makes it unlike the others, `patience` is how long a client that leaves stays."""

    act: Act
    model: str
    number: int
    patience: float


class Blow(StrEnum):
    """What befalls the program or one of its models."""

    KILL = "kill -9"
    STOP = "SIGSTOP, then SIGCONT"
    HANG_IN_LOAD = "hang in load"
    DIE_IN_LOAD = "death in load"
    UNLOAD = "unload"
    CANCEL = "cancel"
    RELOAD = "reload"
    FULL_DISK = "full disk"
    CLOCK_JUMP = "clock jump"


@dataclass(frozen=True)
class Event:
    """A blow at a point in time (seconds from the start), for some seconds where it lasts.

    `choice` picks among what there is to pick: the kind of a reload, the hours of a jump.
    """

    at: float
    blow: Blow
    victim: str
    seconds: float
    choice: int


@dataclass(frozen=True)
class Schedule:
    events: list[Event]
    deeds: list[list[Deed]]


def make(seed: int, policy: Policy, seconds: float) -> Schedule:
    chance = random.Random(f"{seed} {policy}")
    return Schedule(_events(chance, seconds), [_deeds(chance, policy, client) for client in range(CLIENTS)])


def _events(chance: random.Random, seconds: float) -> list[Event]:
    events, at = [], 0.0
    while (at := at + chance.uniform(*PAUSE)) < seconds:
        blow = chance.choice(list(Blow))
        events.append(
            Event(at, blow, chance.choice(VICTIMS), chance.uniform(0.2, 2.0), chance.randrange(100))
        )
    return events


def _deeds(chance: random.Random, policy: Policy, client: int) -> list[Deed]:
    """The first client asks only for models that have nothing to do with the victims."""
    if client == 0:
        models = [PEER] if policy in (Policy.SERIAL, Policy.FIFO) else [PEER, CALM]
    else:
        models = [BYSTANDER, *VICTIMS, *VICTIMS, SOMETIMES, PEER]
    acts, weights = list(WEIGHTS), list(WEIGHTS.values())
    return [
        Deed(
            chance.choices(acts, weights)[0],
            chance.choice(models),
            client * ACTS_EACH + number,
            chance.uniform(0.0, 1.0),
        )
        for number in range(ACTS_EACH)
    ]
