"""Kills itself at the point of an answer that the request's field `die` names.

`before`: no byte of the answer was sent.  `amid_stream`: after event 2.
`amid_body`: after 7 of 100 promised bytes.
"""

import os
import signal
import sys
from typing import Any

from tests.end_to_end.servers.well_behaved import Answers, say, serve


def die() -> None:
    say("error: out of memory")
    os.kill(os.getpid(), signal.SIGKILL)


class DiesWhileServing(Answers):
    def before_answer(self, wish: dict[str, Any]) -> None:
        if wish.get("die") == "before":
            die()
        if wish.get("die") == "amid_body":
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b'{"choic')
            die()

    def after_event(self, number: int, wish: dict[str, Any]) -> None:
        if wish.get("die") == "amid_stream" and number == 2:
            die()


if __name__ == "__main__":
    serve(DiesWhileServing, sys.argv[1:])
