"""Listens, and says for ever that it is still loading."""

import sys

from tests.end_to_end.servers.well_behaved import Answers, serve


class NeverReady(Answers):
    def health(self) -> None:
        self.answer(503, {"status": "loading"})


if __name__ == "__main__":
    serve(NeverReady, sys.argv[1:])
