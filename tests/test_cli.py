"""The command line: flags, exit statuses, one clear sentence for whatever is wrong, and signals."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from swapyard import cli
from swapyard.cli import UsageError, parse_flags

GOOD = "models: {m: {cmd: 'server --port ${PORT}', ttl: 5}}\n"
UNKNOWN_MEMBER = GOOD + "groups: {g: {members: [m, stranger]}}\n"


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    Path("good.yaml").write_text(GOOD)
    Path("stranger.yaml").write_text(UNKNOWN_MEMBER)


def swapyard(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "swapyard", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


# configuration.md §27.6, and what else the text of §18 says
VECTORS: list[tuple[str, int, str, tuple[str, ...]]] = [
    ("-version", 0, "out", ("version: ", "(", "), built at ")),
    ("--version", 0, "out", ("version: ",)),
    ("-version=true", 0, "out", ("version: ",)),
    ("-version -listen nonsense", 0, "out", ("version: ",)),
    ("check -version", 0, "out", ("version: ",)),
    ("-h", 0, "err", ("Usage", "-config")),
    ("-help", 0, "err", ("Usage",)),
    ("demo -help", 0, "err", ("Usage",)),
    ("monitor --help", 0, "err", ("Usage",)),
    ("", 1, "err", ("-config", "-config-dir")),
    ("-version=false", 1, "err", ("-config", "-config-dir")),
    ("x -config /nope", 1, "err", ("-config", "-config-dir")),
    ("-config /nope", 1, "err", ("/nope", "o such file")),
    ("-config-dir /nope", 1, "err", ("/nope", "o such file")),
    ("-tls-cert-file c -config good.yaml", 1, "err", ("-tls-cert-file", "-tls-key-file")),
    ("-tls-key-file k -config good.yaml", 1, "err", ("-tls-cert-file", "-tls-key-file")),
    (
        "-tls-cert-file c.pem -tls-key-file k.pem -config good.yaml",
        1,
        "err",
        ("c.pem", "k.pem", "No such file"),
    ),
    ("-bogus", 2, "err", ("-bogus", "Usage")),
    ("---config x", 2, "err", ("config", "Usage")),
    ("-listen", 2, "err", ("needs an argument", "-listen")),
    ("-watch-config=maybe", 2, "err", ("invalid boolean", "maybe")),
    ("monitor -config good.yaml", 2, "err", ("not defined: -config", "Usage")),
    ("monitor -t soon", 2, "err", ("invalid duration", "soon", "Usage")),
    ("-stream -config good.yaml", 2, "err", ("not defined: -stream", "Usage")),
    ("monitor", 0, "out", ("[SYS ", "  CPU:", "  Load: ")),
    ("monitor -t 1ms", 0, "out", ("[SYS ",)),
    ("-config good.yaml -listen 127.0.0.1:99999", 1, "err", ("invalid port", "99999")),
    ("-config good.yaml -listen 127.0.0.1:http", 1, "err", ("invalid port",)),
    ("-config good.yaml -listen 127.0.0.1:-1", 1, "err", ("invalid port",)),
    ("-config good.yaml -listen foo", 1, "err", ("missing port", "foo")),
    ("-config good.yaml -listen ::1:8080", 1, "err", ("brackets",)),
    ("-config good.yaml -listen no.such.host.invalid:1", 1, "err", ("no.such.host.invalid",)),
    ("-config stranger.yaml", 1, "err", ("stranger", "stranger.yaml:2")),
    ("check -config stranger.yaml", 1, "err", ("stranger",)),
]


@pytest.mark.parametrize(
    ("arguments", "status", "stream", "told"), VECTORS, ids=[arguments or "none" for arguments, *_ in VECTORS]
)
def test_every_command_line_ends_as_it_should(
    arguments: str, status: int, stream: str, told: tuple[str, ...]
) -> None:
    ended = swapyard(*arguments.split())
    text = ended.stdout if stream == "out" else ended.stderr
    other = ended.stderr if stream == "out" else ended.stdout
    assert (ended.returncode, other) == (status, "")
    assert all(part in text for part in told), text
    assert "Traceback" not in text
    if status == 1 and not arguments.startswith("check"):
        assert " ERROR " in text.splitlines()[0]


def test_flags_take_one_dash_or_two_and_a_value_after_a_blank_or_an_equals_sign() -> None:
    words = ["-config", "a", "--config-dir=b", "-listen=:1", "--watch-config", "-config", "c"]
    assert parse_flags(words) == {"config": "c", "config-dir": "b", "listen": ":1", "watch-config": "true"}


@pytest.mark.parametrize("end", ["stop", "--", "-"])
def test_flags_end_at_the_first_word_that_is_none(end: str) -> None:
    assert parse_flags(["-config", "a", end, "-bogus"]) == {"config": "a"}


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("-watch-config=t", "true"),
        ("-watch-config=1", "true"),
        ("-watch-config=F", ""),
        ("-watch-config=0", ""),
    ],
)
def test_switches_may_be_given_a_value(word: str, value: str) -> None:
    assert parse_flags([word]) == {"watch-config": value}


@pytest.mark.parametrize("words", [["-"], [], ["word"]])
def test_no_flags_are_no_error(words: list[str]) -> None:
    assert parse_flags(words) == {}


@pytest.mark.parametrize("words", [["-config"], ["-nope"], ["--=x"], ["-watch-config=x"]])
def test_what_cannot_be_understood_is_said(words: list[str]) -> None:
    with pytest.raises(UsageError):
        parse_flags(words)


def test_a_port_in_use_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = swapyard("-config", "good.yaml", "-listen", f"127.0.0.1:{port}")
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.endswith(f"ERROR cannot listen on 127.0.0.1:{port}: Address already in use")


def test_a_store_that_cannot_be_opened_is_one_sentence(free_port: int) -> None:
    Path("store.yaml").write_text(GOOD + "store: {path: notes.txt}\n")
    Path("notes.txt").write_text("this is no database, " * 100)
    ended = swapyard("-config", "store.yaml", "-listen", f"127.0.0.1:{free_port}")
    (line,) = ended.stderr.splitlines()
    assert ended.returncode == 1 and "ERROR notes.txt: file is not a database" in line


def test_check_prints_what_a_configuration_means() -> None:
    ended = swapyard("check", "-config", "good.yaml")
    assert ended.returncode == 0
    assert json.loads(ended.stdout)["models"]["m"]["ttl"] == 5


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_check_prints_every_character_on_every_terminal(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    Path("emoji.yaml").write_text('models: {"\\ud83d\\ude00": {cmd: "s ${PORT}", name: "größe"}}\n')
    done = swapyard("check", "-config", "emoji.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    assert list(json.loads(done.stdout)["models"]) == ["😀"]


@pytest.mark.skipif(sys.platform == "darwin", reason="file names are UTF-8 there")
@pytest.mark.parametrize("command", [["check"], []])
def test_a_file_whose_name_is_not_utf8_is_named_in_its_problems(command: list[str]) -> None:
    file = os.fsdecode(b"conf\xff.yaml")
    Path(file).write_text("models: {m: {cmd: s, proxy: 'http://h', name: '${env.NAME}'}}\n")
    environment = {**os.environb, b"NAME": b"a\xff"}
    words = [sys.executable, "-m", "swapyard", *command, "-config", file]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False, env=environment)
    assert (done.returncode, done.stdout) == (1, "")
    place = "conf\\udcff.yaml:1: models.m.name: environment variable 'NAME' is not UTF-8"
    assert place in done.stderr and "Traceback" not in done.stderr


def test_check_lists_every_problem_at_once() -> None:
    Path("bad.yaml").write_text("models: {m: {cmd: x, ttl: soon}}\nstartPort: many\n")
    ended = swapyard("check", "-config", "bad.yaml")
    assert ended.returncode == 1
    assert "models.m.ttl" in ended.stderr and "startPort" in ended.stderr and ended.stdout == ""


Start = Callable[..., AbstractContextManager["Running"]]


class Running:
    """A running program and what it has printed."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()

    def printed(self, text: str, timeout: float = 20, *, count: int = 1) -> str:
        """Wait for this many lines with this text in them; the first."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while len(found := [line for line in self.lines if text in line]) < count:
                left = deadline - time.monotonic()
                assert left > 0 and self._changed.wait(left), f"no {text!r} in {self.lines}"
        return found[0]

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=20) as answer:
            body: bytes = answer.read()
            return body

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        status = self.process.wait(20)
        self._reader.join(5)
        return status


def test_the_monitor_goes_on_printing_until_it_is_interrupted() -> None:
    command = [sys.executable, "-m", "swapyard", "monitor", "--stream", "-t=1s"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        running = Running(process, 0)
        running.printed("[SYS ", count=2)
        assert running.end(signal.SIGINT) == 0
    assert "Traceback" not in "".join(running.lines)


def test_the_monitor_ends_when_nobody_reads_any_more() -> None:
    command = [sys.executable, "-m", "swapyard", "monitor", "-stream"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(20) == 0
        assert process.stderr.read() == ""


@pytest.fixture
def started(free_port: int) -> Start:
    """`with started(*arguments) as program`: the program with these arguments, on a port of its own."""

    @contextmanager
    def start(*arguments: str) -> Iterator[Running]:
        command = [sys.executable, "-m", "swapyard", *arguments, "-listen", f"127.0.0.1:{free_port}"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        running = Running(process, free_port)
        try:
            yield running
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            running._reader.join(5)
            assert process.stdout is not None
            process.stdout.close()

    return start


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_ends_the_program_properly(started: Start, number: int) -> None:
    with started("-config", "good.yaml") as program:
        program.printed("listening on http://127.0.0.1:")
        assert program.get("/health") == b"OK"
        assert program.end(number) == 0
        assert "shutdown complete" in program.lines[-1]


@pytest.fixture
def scripted(held_ports: Callable[[int], AbstractContextManager[int]]) -> Iterator[str]:
    """A configuration with one scripted server as its model `m`."""
    server = Path(__file__).parent / "scripted_server.py"
    with held_ports(1) as port:
        yield f"startPort: {port}\nmodels: {{m: {{cmd: '{sys.executable} {server} --port ${{PORT}}'}}}}\n"


def test_hup_loads_the_configuration_again(started: Start, scripted: str) -> None:
    Path("live.yaml").write_text(scripted)
    with started("-config", "live.yaml") as program:
        program.printed("listening")
        Path("live.yaml").write_text(scripted + "profiles: {p: {pins: {x: m}}}\n")
        program.process.send_signal(signal.SIGHUP)
        program.printed("configuration reloaded")
        assert b'"id":"p"' in program.get("/api/profiles")
        Path("live.yaml").write_text("models: [")
        program.process.send_signal(signal.SIGHUP)
        program.printed("failed to reload config")
        assert b'"id":"p"' in program.get("/api/profiles")
        assert program.end() == 0


def test_watching_loads_a_changed_file_by_itself(started: Start, scripted: str) -> None:
    Path("live.yaml").write_text(scripted)
    with started("-config", "live.yaml", "-watch-config") as program:
        program.printed("listening")
        Path("live.yaml").write_text(scripted + "profiles: {p: {pins: {x: m}}}\n")
        program.printed("configuration reloaded")
        assert program.end() == 0


def test_a_second_signal_ends_a_shutdown_that_waits(started: Start, scripted: str) -> None:
    Path("live.yaml").write_text(scripted)
    with started("-config", "live.yaml") as program:
        program.printed("listening")
        with socket.create_connection(("127.0.0.1", program.port)) as client:
            body = b'{"model":"m"}'
            head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
            client.sendall(head + b"x-do: stream-hang\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            assert client.recv(100)
            program.process.send_signal(signal.SIGTERM)
            program.printed("shutting down")
            assert program.process.poll() is None
            assert program.end() == 0
        program.printed("second signal")


def test_a_thread_that_hangs_for_good_does_not_keep_the_program_alive() -> None:
    script = (
        "import threading, time\n"
        "from swapyard.cli import leave_threads_behind\n"
        "threading.Thread(target=time.sleep, args=(600,)).start()\n"
        "leave_threads_behind(7, 0.2)\n"
    )
    begun = time.monotonic()
    assert subprocess.run([sys.executable, "-c", script], timeout=30, check=False).returncode == 7
    assert time.monotonic() - begun < 10
    assert cli.PATIENCE < 10


def test_the_last_of_repeated_flags_counts(started: Start) -> None:
    with started("-config", "good.yaml", "-listen", "0.0.0.0:1") as program:
        assert f"http://127.0.0.1:{program.port}" in program.printed("listening on")
        assert program.end() == 0
        assert not any("reachable from other machines" in line for line in program.lines)
