"""Does not end on SIGTERM as long as somebody waits for an answer, as llama-server does.

It goes on with its answer meanwhile, for as long as the client is there to take it.
"""

import os
import signal
import sys
import threading
import time
from typing import Any

from tests.end_to_end.servers.well_behaved import TICK, Answers, say, serve

answering: set[int] = set()


def end_when_nobody_waits(*_: object) -> None:
    say("asked to end")
    while answering:
        time.sleep(TICK)
    say("ends")
    os._exit(0)


class EndsWithItsConnections(Answers):
    def converse(self, wish: dict[str, Any]) -> None:
        answering.add(threading.get_ident())
        try:
            super().converse(wish)
        finally:
            answering.discard(threading.get_ident())


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, end_when_nobody_waits)
    serve(EndsWithItsConnections, sys.argv[1:])
