"""Passes its health check and answers everything else with an error of its own."""

import sys

from tests.end_to_end.servers.well_behaved import Answers, serve


class Answers500(Answers):
    def do_POST(self) -> None:
        self.read_body()
        self.answer(500, {"error": {"message": "CUDA error: device-side assert triggered", "code": 500}})


if __name__ == "__main__":
    serve(Answers500, sys.argv[1:])
