"""How long a server takes to be there, and to say its version."""

from __future__ import annotations

import http.client
import shlex
import subprocess
import time
from collections.abc import Mapping

from rig import Rig, free_port, memory_mb, running, wait_for
from table import Table


def answered(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/health")
    connection.getresponse().read()
    connection.close()


def measure(rig: Rig, commands: Mapping[str, str], rounds: int) -> Table:
    table = Table("start", list(commands))
    config = rig.folder / "start.yaml"
    config.write_text("models:\n  m:\n    cmd: sleep 1000\n    proxy: http://127.0.0.1:9\n")
    for _ in range(rounds):
        for name, command in commands.items():
            port = free_port()
            words = shlex.split(command.format(config=config, listen=f"127.0.0.1:{port}"))
            with running(words, rig.folder / "start.log") as process:
                begun = time.monotonic()
                wait_for(port)
                table.add("first connection accepted after", "ms", name, (time.monotonic() - begun) * 1e3)
                answered(port)
                table.add("first answer after", "ms", name, (time.monotonic() - begun) * 1e3)
                time.sleep(1.0)
                table.add("resident memory, idle", "MB", name, memory_mb(process.pid))
            begun = time.monotonic()
            subprocess.run([words[0], "--version"], check=True, capture_output=True)
            table.add("--version", "ms", name, (time.monotonic() - begun) * 1e3)
    return table
