"""Takes pictures of every page of the web UI over a demonstration with some traffic: `make screenshots`."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
START_SECONDS = 20.0


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def ask(url: str, model: str, tokens: int) -> None:
    """One chat request; an error answer is traffic too."""
    body = {
        "model": model,
        "max_tokens": tokens,
        "messages": [{"role": "user", "content": "What is a yard?"}],
    }
    request = urllib.request.Request(
        f"{url}/v1/chat/completions",
        json.dumps(body | {"stream": True}).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer.read()
    except urllib.error.HTTPError as refused:
        refused.close()


def wait_until_up(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=1):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def main() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "swapyard", "demo", "-listen", url.removeprefix("http://")]
    with tempfile.TemporaryFile() as log:
        demo = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_until_up(url)
            wanted = [("demo-quick", 60), ("demo-quick", 30), ("demo-slow", 20), ("unheard-of", 1)]
            with ThreadPoolExecutor(len(wanted)) as clients:
                list(clients.map(lambda each: ask(url, *each), wanted))
            subprocess.run(["npm", "run", "screenshots", "--", url], cwd=ROOT / "ui", check=True)
        finally:
            demo.terminate()
            demo.wait()


if __name__ == "__main__":
    main()
