"""Passes its health check, takes every request and says nothing until the client leaves."""

import sys
from typing import Any

from tests.end_to_end.servers.well_behaved import Answers, serve


class NeverAnswers(Answers):
    def converse(self, wish: dict[str, Any]) -> None:
        while True:
            self.pause(1.0)


if __name__ == "__main__":
    serve(NeverAnswers, sys.argv[1:])
