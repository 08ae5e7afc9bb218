"""A model that is ready some time after its start, and gone at once when told to stop.

    python -S -E model_server.py PORT SECONDS [FILE]

Every start adds a line to the file.  It listens only when it is ready.  Nothing is imported that it does not
need: its own start is part of every swap that is measured.
"""

import socket
import sys
import time

ANSWER = b'{"choices":[{"message":{"content":"ok"}}]}'
HEAD = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"


def serve(connection: socket.socket) -> None:
    """One request; whoever wants another connects again, so that nobody waits behind an idle connection."""
    waiting = b""
    while data := connection.recv(65536):
        waiting += data
        head, blank, body = waiting.partition(b"\r\n\r\n")
        _, found, rest = head.lower().partition(b"content-length:")
        length = int(rest.partition(b"\r\n")[0]) if found else 0
        if blank and len(body) >= length:
            connection.sendall(HEAD % len(ANSWER) + ANSWER)
            return


def main(port: int, seconds: float, starts: str | None = None) -> None:
    if starts is not None:
        with open(starts, "a") as file:
            file.write("started\n")
    time.sleep(seconds)
    with socket.create_server(("127.0.0.1", port)) as server:
        while True:
            connection, _ = server.accept()
            with connection:
                serve(connection)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), *sys.argv[3:])
