"""The real command in a folder of its own, a small HTTP client for it, and the proof that nothing is left."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
MARKER = "SWAPYARD_TEST_YARD"
PATIENCE = 20.0
"""Seconds within which whatever a test waits for has to happen."""
LOOK_AGAIN = 0.01

MODEL_PORTS = 64
"""How many models with `${PORT}` a configuration of these tests may have."""

PRELUDE = """\
startPort: {start_port}
logToStdout: both
macros:
  server: '"{python}" -S -m tests.end_to_end.servers'
  packaged_server: '"{python}" -m tests.end_to_end.servers'
"""


HoldPorts = Callable[[int], AbstractContextManager[int]]


@dataclass(frozen=True)
class Reply:
    """An answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of an error of swapyard's own."""
        answer = self.json()
        assert answer["src"] == "llama-swap"
        return str(answer["error"]["code"])

    @property
    def message(self) -> str:
        return str(self.json()["error"]["message"])


class Stream:
    """An answer that is still being read; its connection closes with it."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self._connection = connection
        self._response = response
        self.status = response.status
        self.headers = response.headers

    def events(self) -> Iterator[str]:
        """The data of each event; http.client.IncompleteRead or ConnectionError when the stream is cut."""
        for line in self._lines():
            if line.startswith(b"data:"):
                yield line[5:].decode().strip()

    def _lines(self) -> Iterator[bytes]:
        # Not readline(): it takes the end of the connection for the end of the answer.
        rest = b""
        while piece := self._response.read1():
            *lines, rest = (rest + piece).split(b"\n")
            yield from lines

    def words(self) -> list[str]:
        """What is said from here on, to the end; fails when the stream does not end as it should."""
        *said, last = self.events()
        assert last == "[DONE]"
        return [word for event in said for word in _content(json.loads(event))]

    def until_cut(self) -> list[str]:
        """What is said until the connection breaks; fails when the stream ends in good order."""
        said: list[str] = []
        try:
            for event in self.events():
                said.append(event)
        except (http.client.IncompleteRead, ConnectionError):
            return said
        pytest.fail(f"the stream was not cut: {said}")

    def read(self) -> bytes:
        return self._response.read()

    def hang_up(self) -> None:
        """Leave without a word."""
        if self._connection.sock is not None:
            self._connection.sock.close()
        self._response.close()
        self._connection.close()


def _content(event: dict[str, Any]) -> list[str]:
    return [choice["delta"].get("content", "").strip() for choice in event["choices"] if choice["delta"]]


class Yard:
    """One swapyard with a configuration of its own; `start` it again after it has ended."""

    def __init__(self, folder: Path, port: int, config: str, arguments: tuple[str, ...], state: Path) -> None:
        self.folder = folder
        self.marker = uuid.uuid4().hex
        self.port = port
        self.config_file = folder / "config.yaml"
        self.log_file = folder / "swapyard.log"
        self.state = state
        self._arguments = arguments
        self.write_config(config)
        self.process: subprocess.Popen[bytes]

    def write_config(self, config: str) -> None:
        """Replace the configuration in one step, as editors do."""
        prelude = PRELUDE.format(start_port=self.port + 1, python=sys.executable)
        draft = self.config_file.with_suffix(".draft")
        draft.write_text(prelude + config)
        draft.replace(self.config_file)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    def start(self, *, ready: bool = True) -> None:
        command = [sys.executable, "-m", "swapyard", "-config", str(self.config_file)]
        command += ["-listen", f"127.0.0.1:{self.port}", *self._arguments]
        environment = {
            **os.environ,
            MARKER: self.marker,
            "PYTHONPATH": str(ROOT),
            "XDG_STATE_HOME": str(self.state),
        }
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        if ready:
            self.until(self._answers, "it answers")

    def _answers(self) -> bool:
        assert self.process.poll() is None, f"swapyard ended at once:\n{self.log()}"
        with suppress(OSError):
            return self.get("/health").status == 200
        return False

    # Asking

    def request(
        self,
        method: str,
        path: str,
        body: bytes | str | object | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = PATIENCE,
    ) -> Reply:
        """Ask and read the whole answer; a body that is neither bytes nor text is sent as JSON."""
        stream = self.open(method, path, body, headers, timeout)
        try:
            content = stream.read()
            return Reply(stream.status, {k.lower(): v for k, v in stream.headers.items()}, content)
        finally:
            stream.hang_up()

    def open(
        self,
        method: str,
        path: str,
        body: bytes | str | object | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = PATIENCE,
    ) -> Stream:
        """Ask and return when the answer begins."""
        sent = dict(headers or {})
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
            sent.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, sent)
            return Stream(connection, connection.getresponse())
        except BaseException:
            connection.close()
            raise

    def get(self, path: str) -> Reply:
        return self.request("GET", path)

    def chat(self, model: str, timeout: float = PATIENCE, **fields: object) -> Reply:
        return self.request("POST", "/v1/chat/completions", {"model": model, **fields}, timeout=timeout)

    @contextmanager
    def stream(self, model: str, **fields: object) -> Iterator[Stream]:
        wish = {"model": model, "stream": True, **fields}
        stream = self.open("POST", "/v1/chat/completions", wish)
        try:
            assert stream.status == 200, stream.read()
            yield stream
        finally:
            stream.hang_up()

    @contextmanager
    def watch(self, path: str) -> Iterator[Stream]:
        """A stream that does not end by itself."""
        stream = self.open("GET", path)
        try:
            yield stream
        finally:
            stream.hang_up()

    def leave_after_asking(self, body: object, path: str = "/v1/chat/completions") -> socket.socket:
        """Send a request and return its open connection, without waiting for anything."""
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: yard\r\nContent-Type: application/json\r\n"
        client = self.connect()
        client.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        return client

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    # Looking

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def log_says(self, text: str, times: int = 1) -> None:
        """Wait until the log has this text."""
        self.until(lambda: self.log().count(text) >= times, f"the log says {text!r}")

    def states(self) -> dict[str, str]:
        """The processes that are not stopped."""
        return {entry["model"]: entry["state"] for entry in self.get("/running").json()["running"]}

    def in_flight(self) -> list[dict[str, Any]]:
        return list(self.get("/api/inflight").json()["requests"])

    def activity(self) -> list[dict[str, Any]]:
        """All rows, oldest first."""
        return list(self.get("/api/metrics/activity?limit=999&order=asc").json()["data"])

    def row(self, model: str) -> dict[str, Any]:
        """The first row of this model, which is written soon after its answer was."""
        self.until(lambda: bool(self.statuses(model)), f"a request for {model} is recorded")
        return next(row for row in self.activity() if row["model"] == model)

    def statuses(self, model: str) -> list[int]:
        """Of the requests for this model that are recorded, oldest first."""
        return [row["resp_status_code"] for row in self.activity() if row["model"] == model]

    def until(self, condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
        deadline = time.monotonic() + patience
        while not condition():
            if time.monotonic() >= deadline:
                pytest.fail(f"not within {patience:g} s: {what}\n{self.log()[-4000:]}")
            time.sleep(LOOK_AGAIN)

    def pid_of(self, model: str) -> int:
        """The pid of a well-behaved server, as it says itself."""
        return int(self.chat(model).json()["pid"])

    def resident_bytes(self) -> int:
        return int(psutil.Process(self.pid).memory_info().rss)

    def processes(self) -> list[psutil.Process]:
        """Everything alive that this yard started, wherever it went; zombies count as dead."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.environ().get(MARKER) == self.marker:
                    found.append(process)
        return found

    # Ending

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def exit_status(self, patience: float = PATIENCE) -> int:
        """Wait for the end."""
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            pytest.fail(f"swapyard has not ended within {patience:g} s:\n{self.log()[-4000:]}")

    def stop(self) -> None:
        """End it in good order and look behind it; harmless when it has ended."""
        try:
            if self.process.poll() is None:
                self.signal(signal.SIGTERM)
                assert self.exit_status(40.0) == 0, self.log()[-4000:]
            left = [f"{process.pid}: {' '.join(process.cmdline())}" for process in self.processes()]
            assert left == []
            assert "Traceback" not in self.log(), self.log()
        finally:
            self.clear_away()

    def clear_away(self) -> None:
        """For tests that failed: whatever is left is killed."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for process in self.processes():
            with suppress(psutil.Error):
                process.kill()


@contextmanager
def starting(folder: Path, held_ports: HoldPorts) -> Iterator[Callable[..., Yard]]:
    """Hands out a function that starts swapyard; at the end each one is stopped and nothing may be left."""
    with ExitStack() as ends:

        def start(config: str, *arguments: str, ready: bool = True, state: Path | None = None) -> Yard:
            place = folder / f"yard{len(list(folder.glob('yard*')))}"
            place.mkdir()
            port = ends.enter_context(held_ports(1 + MODEL_PORTS))
            started = Yard(place, port, config, arguments, state or place / "state")
            started.start(ready=ready)
            ends.callback(started.stop)
            return started

        yield start


@pytest.fixture
def yard(tmp_path: Path, held_ports: HoldPorts) -> Iterator[Callable[..., Yard]]:
    """Starts swapyard with the given configuration."""
    with starting(tmp_path, held_ports) as start:
        yield start


@pytest.fixture(scope="module")
def shared_yard(
    tmp_path_factory: pytest.TempPathFactory, held_ports: HoldPorts
) -> Iterator[Callable[..., Yard]]:
    """As `yard`, for one that all tests of a module share."""
    with starting(tmp_path_factory.mktemp("shared"), held_ports) as start:
        yield start


@pytest.fixture
def undisturbed() -> Callable[[Yard, str], Any]:
    """A block during which a stream of one model runs, which has to say every word and end in good order."""
    return speaking


@contextmanager
def speaking(yard: Yard, model: str) -> Iterator[None]:
    end = yard.folder / f"end-{uuid.uuid4().hex}"
    with yard.stream(model, until=str(end)) as stream:
        events = stream.events()
        first = [next(events), next(events)]
        yield
        end.touch()
        *said, last = events
        assert last == "[DONE]"
        words = [word for event in [*first, *said] for word in _content(json.loads(event))]
        assert words == [str(number) for number in range(len(words))]
