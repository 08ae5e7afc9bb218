"""HTTP as clients really speak it: kept connections, HEAD, long heads, bodies that wait to be asked for."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Yard

StartYard = Callable[..., "Yard"]

CONFIG = """
models:
  good: {cmd: "${server}.well_behaved ${PORT}"}
"""

CHAT = "/v1/chat/completions"
BODY = json.dumps({"model": "good"}).encode()


@pytest.fixture(scope="module")
def swapyard(shared_yard: StartYard) -> Yard:
    started = shared_yard(CONFIG)
    assert started.chat("good").status == 200
    return started


def head_of(connection: socket.socket) -> bytes:
    """Read up to the end of a head; what follows stays unread."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        assert byte, f"the connection ended after {head!r}"
        head += byte
    return head


def test_one_connection_carries_many_requests(swapyard: Yard) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", swapyard.port, timeout=20)) as connection:
        connection.connect()
        local = connection.sock.getsockname()
        for path in ("/health", "/v1/models", "/upstream/good/x", "/v1/nothing", "/running") * 4:
            connection.request("GET", path)
            connection.getresponse().read()
            connection.request("POST", CHAT, BODY, {"Content-Type": "application/json"})
            assert connection.getresponse().read().startswith(b'{"choices"')
        assert connection.sock.getsockname() == local


def test_requests_sent_ahead_are_answered_in_their_order(swapyard: Yard) -> None:
    with swapyard.connect() as client:
        for number in range(5):
            client.sendall(f"GET /upstream/good/{number} HTTP/1.1\r\nHost: yard\r\n\r\n".encode())
        answers = b""
        while answers.count(b'"path"') < 5:
            answers += client.recv(65536)
    found = [answers.index(f'"/{number}"'.encode()) for number in range(5)]
    assert found == sorted(found)


def test_an_old_client_gets_its_answer_and_the_end_of_the_connection(swapyard: Yard) -> None:
    with swapyard.connect() as client:
        client.sendall(b"GET /upstream/good/x HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b'{"path": "/x"}')


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/running", "/upstream/good/x"])
def test_head_is_the_answer_to_get_without_its_body(swapyard: Yard, path: str) -> None:
    whole, head = swapyard.get(path), swapyard.request("HEAD", path)
    assert (head.status, head.body) == (whole.status, b"")
    assert head.headers["content-type"] == whole.headers["content-type"]
    assert head.headers["content-length"] == str(len(whole.body))


def test_a_head_that_is_too_long_is_431_and_the_next_client_is_served(swapyard: Yard) -> None:
    with swapyard.connect() as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: yard\r\nX-Long: " + b"x" * (2 * 1024 * 1024))
        assert head_of(client).startswith(b"HTTP/1.1 431 ")
    assert swapyard.get("/health").status == 200


def test_a_long_head_within_the_limit_passes(swapyard: Yard) -> None:
    reply = swapyard.request("GET", "/upstream/nobody/x", headers={"X-Long": "x" * 500_000})
    assert (reply.status, reply.message) == (404, "model not found")
    for path, status in (
        ("/health", 431),
        ("/health?" + "x" * 20_000, 414),
        ("/health?" + "x" * 10_000, 200),
    ):
        headers = {"X-Long": "x" * (500_000 if status == 431 else 50_000)}
        assert swapyard.request("GET", path, headers=headers).status == status


@pytest.mark.parametrize("path", [CHAT, "/upstream/good/upload"])
def test_a_client_that_waits_for_100_continue_is_told_to_go_on(swapyard: Yard, path: str) -> None:
    with swapyard.connect() as client:
        head = f"POST {path} HTTP/1.1\r\nHost: yard\r\nContent-Type: application/json\r\n"
        client.sendall(f"{head}Expect: 100-continue\r\nContent-Length: {len(BODY)}\r\n\r\n".encode())
        assert head_of(client).startswith(b"HTTP/1.1 100 ")
        client.sendall(BODY)
        assert head_of(client).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_expects_to_be_refused_is_refused_without_its_body(swapyard: Yard) -> None:
    with swapyard.connect() as client:
        head = b"POST /v1/nothing HTTP/1.1\r\nHost: yard\r\n"
        client.sendall(head + b"Expect: 100-continue\r\nContent-Length: 1000000000\r\n\r\n")
        assert head_of(client).startswith(b"HTTP/1.1 404 ")


def test_a_chunked_upload_arrives_whole(swapyard: Yard) -> None:
    pieces = [bytes([number]) * (number * 100 + 1) for number in range(100)]
    with closing(http.client.HTTPConnection("127.0.0.1", swapyard.port, timeout=20)) as connection:
        connection.request("POST", "/upstream/good/upload", iter(pieces), encode_chunked=True)
        counted = json.load(connection.getresponse())
    whole = b"".join(pieces)
    assert counted == {"bytes": len(whole), "sha256": hashlib.sha256(whole).hexdigest()}


def test_a_file_upload_names_its_model_in_a_form_field(swapyard: Yard) -> None:
    form = b'--cut\r\nContent-Disposition: form-data; name="model"\r\n\r\ngood\r\n'
    form += b'--cut\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    form += bytes(range(256)) * 100 + b"\r\n--cut--\r\n"
    reply = swapyard.request(
        "POST", "/v1/audio/transcriptions", form, {"Content-Type": "multipart/form-data; boundary=cut"}
    )
    assert reply.json() == {"bytes": len(form), "sha256": hashlib.sha256(form).hexdigest()}


def test_events_arrive_one_by_one_as_they_are_said(swapyard: Yard) -> None:
    """P-41: the third event is not sent before the client has had the second."""
    with swapyard.stream("good", count=50, pause=0.02) as stream:
        events = stream.events()
        next(events)
        next(events)
        assert len(swapyard.in_flight()) == 1
        assert stream.headers["x-accel-buffering"] == "no"
        assert len(list(events)) == 50
