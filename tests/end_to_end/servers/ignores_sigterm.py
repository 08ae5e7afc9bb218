"""Serves well and does not end when it is asked to."""

import signal
import sys

from tests.end_to_end.servers.well_behaved import Answers, serve

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    serve(Answers, sys.argv[1:])
