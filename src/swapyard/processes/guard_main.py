"""The guard's own program: waits for its owner to end and then ends the groups it was told of.

Runs as a script without the rest of the package, so that it starts in milliseconds and stays small.
"""

from __future__ import annotations

import os
import signal
import sys
import time

GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL."""
LOOK_AGAIN = 0.02


def listen() -> set[int]:
    """Read `+group` and `-group` lines until the owner is gone; the groups it left."""
    groups: set[int] = set()
    for line in sys.stdin:
        if line.startswith("+"):
            groups.add(int(line[1:]))
        else:
            groups.discard(int(line[1:]))
    return groups


def signal_all(groups: set[int], number: int) -> set[int]:
    """Send to every process of every group; the groups that are still there."""
    left: set[int] = set()
    for group in groups:
        reached = [send(pid, number) for pid in (-group, *members(group))]
        if any(reached):
            left.add(group)
    return left


def members(group: int) -> list[int]:
    """The processes of other process groups in the session of this group (Linux; elsewhere none)."""
    found: list[int] = []
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        try:
            if name.isdigit() and os.getsid(int(name)) == group != os.getpgid(int(name)):
                found.append(int(name))
        except OSError:
            continue
    return found


def send(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except OSError:
        return False
    return True


def main() -> None:
    # The guard ends with its owner and not before: a service manager signals everybody at once.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    left = signal_all(listen(), signal.SIGTERM)
    deadline = time.monotonic() + GRACE
    while left and time.monotonic() < deadline:
        time.sleep(LOOK_AGAIN)
        left = signal_all(left, 0)
    signal_all(left, signal.SIGKILL)


if __name__ == "__main__":
    main()
