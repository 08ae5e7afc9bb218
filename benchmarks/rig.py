"""What is measured and against what: upstreams, servers in front of them, what the kernel says of these."""

from __future__ import annotations

import os
import re
import resource
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent

ANSWER = (
    '{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"chat","choices":[{"index":0,'
    '"message":{"role":"assistant","content":"I am a language model; how can I help you today?"},'
    '"finish_reason":"stop"}],"usage":{"prompt_tokens":12,"completion_tokens":12,"total_tokens":24}}'
)

# The connections are kept for as long as a run takes; nginx would end them after 1,000 requests.
NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 1h;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ default_type application/json; return 200 '{answer}'; }}
  }}
}}
"""

CONFIG = """
models:
  chat:
    cmd: {nginx}
    proxy: http://127.0.0.1:{chat}
  tokens:
    cmd: {tokens}
    proxy: http://127.0.0.1:{stream}
groups:
  both:
    swap: false
    members: [chat, tokens]
"""


@dataclass
class Contestant:
    """Where to ask for an answer of each kind; `pid` is the server in between, None when there is none."""

    name: str
    chat: int
    tokens: int
    pid: int | None = None


@dataclass
class Upstreams:
    """nginx for whole answers, and a server that paces tokens and swallows bodies."""

    folder: Path
    chat: int = field(default_factory=lambda: free_port())
    tokens: int = field(default_factory=lambda: free_port())

    def __post_init__(self) -> None:
        self.folder.mkdir()
        text = NGINX.format(folder=self.folder, port=self.chat, answer=ANSWER)
        (self.folder / "nginx.conf").write_text(text)

    @property
    def nginx_command(self) -> str:
        return f"nginx -c {self.folder / 'nginx.conf'}"

    @property
    def tokens_command(self) -> str:
        return f"{sys.executable} {HERE / 'token_server.py'} {self.tokens}"


class Rig:
    """Starts things and ends them; `with Rig() as rig`."""

    def __enter__(self) -> Rig:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self._stack = ExitStack()
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def direct(self) -> Contestant:
        upstreams = Upstreams(self.folder / "direct")
        for command in (upstreams.nginx_command, upstreams.tokens_command):
            self._stack.enter_context(running(command, self.folder / "direct.log"))
        for port in (upstreams.chat, upstreams.tokens):
            wait_for(port)
        return Contestant("direct", upstreams.chat, upstreams.tokens)

    def between(self, name: str, command: str, part: str = "all") -> Contestant:
        """A server under test; `{config}` and `{listen}` in its command are filled in."""
        upstreams, port = Upstreams(self.folder / f"{name}-{part}"), free_port()
        config = self.folder / f"{name}-{part}.yaml"
        config.write_text(
            CONFIG.format(
                nginx=upstreams.nginx_command,
                tokens=upstreams.tokens_command,
                chat=upstreams.chat,
                stream=upstreams.tokens,
            )
        )
        filled = command.format(config=config, listen=f"127.0.0.1:{port}")
        process = self._stack.enter_context(running(filled, self.folder / f"{name}-{part}.log"))
        wait_for(port)
        return Contestant(name, port, port, process.pid)


@contextmanager
def running(command: str | Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process for the length of the block; SIGTERM at its end."""
    words = shlex.split(command) if isinstance(command, str) else list(command)
    state = {**os.environ, "XDG_STATE_HOME": str(log.parent / f"{log.stem}-state")}
    with log.open("ab") as output:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=state)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_for(port: int, limit: float = 20.0) -> float:
    """Seconds until the port takes a connection; looked at every half millisecond."""
    begun = time.monotonic()
    while time.monotonic() - begun < limit:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.0005)
        else:
            return time.monotonic() - begun
    raise TimeoutError(f"nobody listens on port {port}")


def cpu_seconds(pid: int) -> float:
    """Processor time of a process, all its threads, not its children."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def memory_mb(pid: int, what: str = "VmRSS") -> float:
    found = re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024 / 1e6


class PeakMemory:
    """The most memory that a process had during a block, in MB, looked at every two milliseconds.

    `what` is a line of /proc/PID/status: RssAnon for memory of its own, VmRSS with the pages of files it has
    mapped, which the kernel takes back whenever it likes.
    """

    def __init__(self, pid: int, what: str = "RssAnon") -> None:
        self._pid = pid
        self._what = what
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> PeakMemory:
        self._before = self.most_mb = memory_mb(self._pid, self._what)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def taken_mb(self) -> float:
        return self.most_mb - self._before

    def _watch(self) -> None:
        while not self._over.wait(0.002):
            self.most_mb = max(self.most_mb, memory_mb(self._pid, self._what))
