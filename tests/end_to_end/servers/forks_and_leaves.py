"""Starts the real server as a daemon would, in the background, and exits with status 0."""

import os
import sys
import time

from tests.end_to_end.servers.well_behaved import Answers, say, serve

SECONDS_TO_LOAD = 0.5

if __name__ == "__main__":
    pid = os.fork()
    if pid:
        say(f"daemon {pid}")
        sys.exit(0)
    time.sleep(SECONDS_TO_LOAD)
    serve(Answers, sys.argv[1:])
