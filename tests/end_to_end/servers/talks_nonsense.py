"""Passes its health check and answers everything else with something that is not HTTP."""

import sys

from tests.end_to_end.servers.well_behaved import Answers, serve


class TalksNonsense(Answers):
    def do_POST(self) -> None:
        self.read_body()
        self.wfile.write(b"\x00\x01 is this a modem?\r\n\r\n")
        self.close_connection = True


if __name__ == "__main__":
    serve(TalksNonsense, sys.argv[1:])
