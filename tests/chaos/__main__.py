"""Random blows against the real program, judged by an oracle; the same seed plays the same schedule again.

    python -m tests.chaos --seed 7 [--seconds 60] [--policy serial|fifo|groups|matrix]

Without a policy each of them gets its share of the seconds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.chaos.play import Result, play
from tests.chaos.schedule import Policy

MOST_SHOWN = 20


def show(policy: Policy, result: Result) -> None:
    blows = ", ".join(f"{number} {blow}" for blow, number in sorted(result.blows.items()))
    print(f"\n{policy}: {blows}")
    for kind, number in sorted(result.outcomes.items()):
        print(f"{number:8,}  {kind}")
    for skipped in result.skipped:
        print(f"skipped: {skipped}")
    for complaint in result.complaints[:MOST_SHOWN]:
        print(f"WRONG: {complaint}")
    if len(result.complaints) > MOST_SHOWN:
        print(f"… and {len(result.complaints) - MOST_SHOWN} more")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--policy", type=Policy, choices=list(Policy))
    options = parser.parse_args()
    policies = [options.policy] if options.policy else list(Policy)
    complaints = 0
    for policy in policies:
        with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
            result = play(Path(folder), options.seed, policy, options.seconds / len(policies))
            show(policy, result)
            if result.complaints:
                log = (Path(folder) / "swapyard.log").read_text(errors="replace")
                print(f"the log ends with:\n{log[-3000:]}")
        complaints += len(result.complaints)
    print(f"\nseed {options.seed}: {f'{complaints} wrong' if complaints else 'everything as it should be'}")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
