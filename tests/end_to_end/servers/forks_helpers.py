"""Serves well, with helper processes beside it: one in its group, one in a group of its own.

Both ignore SIGTERM, and keep standard output open.
"""

import os
import signal
import sys
import time

from tests.end_to_end.servers.well_behaved import Answers, say, serve


def start_helper(own_group: bool) -> None:
    pid = os.fork()
    if pid:
        say(f"helper {pid}")
        return
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if own_group:
        os.setpgid(0, 0)
    while True:
        time.sleep(60)


if __name__ == "__main__":
    start_helper(own_group=False)
    start_helper(own_group=True)
    serve(Answers, sys.argv[1:])
