"""The web UI's files: found, compressed, cached, and nothing outside their folder."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fastapi import FastAPI

from swapyard.api import gate, pages
from swapyard.api.services import Services
from swapyard.web import asgi
from swapyard.web.auth import Keys
from swapyard.web.front import Front
from swapyard.web.server import Handler

Run = Callable[[Coroutine[Any, Any, None]], None]
Serving = Callable[[Handler], AbstractAsyncContextManager[int]]
Ask = Callable[..., Coroutine[Any, Any, tuple[int, dict[str, str], bytes]]]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    root = tmp_path / "ui"
    (root / "assets").mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("secret")
    (root / "index.html").write_text("<html>index</html>")
    (root / "favicon.svg").write_text("<svg/>")
    (root / "assets" / "app-1.js").write_text("plain")
    (root / "assets" / "app-1.js.br").write_text("brotli")
    (root / "assets" / "app-1.js.gz").write_text("gzip")
    (root / "assets" / "data.bin").write_text("0123456789")
    os.symlink(tmp_path / "secret.txt", root / "link.txt")
    return root


def app_for(files: Path, keys: list[str] | None) -> Front:
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    services = cast(Services, SimpleNamespace(keys=lambda: Keys(keys)))
    gate.install(app, services)
    app.include_router(pages.routes(services, files))
    return Front(lambda _: None, asgi.handler(cast(asgi.App, app)))


def asked(
    run: Run,
    serving: Serving,
    ask: Ask,
    files: Path,
    line: str,
    headers: dict[str, str] | None = None,
    keys: list[str] | None = None,
) -> tuple[int, dict[str, str], bytes]:
    found: list[tuple[int, dict[str, str], bytes]] = []

    async def main() -> None:
        # Files are read in threads, which live as long as the loop; the first one starts here.
        await asyncio.to_thread(int)
        async with serving(app_for(files, keys)) as port:
            found.append(await ask(port, line, headers or {}))

    run(main())
    return found[0]


@pytest.mark.parametrize("path", ["/ui/", "/ui/index.html", "/ui/models", "/ui/deep/er/path", "/ui/assets"])
def test_pages_are_the_index_which_is_not_kept(
    run: Run, serving: Serving, ask: Ask, files: Path, path: str
) -> None:
    status, headers, body = asked(run, serving, ask, files, f"GET {path}")
    assert (status, body) == (200, b"<html>index</html>")
    assert headers["cache-control"] == "no-cache" and headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'self'" in headers["content-security-policy"]


def test_a_browser_without_a_key_gets_the_page_that_asks_for_it(
    run: Run, serving: Serving, ask: Ask, files: Path
) -> None:
    accept = {"Accept": "text/html,*/*;q=0.8"}
    status, headers, body = asked(run, serving, ask, files, "GET /ui/models", accept, keys=["key"])
    assert (status, body) == (401, b"<html>index</html>")
    assert headers["www-authenticate"].startswith("Bearer")
    assert asked(run, serving, ask, files, "GET /ui/assets/app-1.js", keys=["key"])[0] == 200


def test_other_clients_without_a_key_are_refused(run: Run, serving: Serving, ask: Ask, files: Path) -> None:
    status, headers, body = asked(run, serving, ask, files, "GET /ui/", keys=["key"])
    assert status == 401 and b"index" not in body
    assert headers["www-authenticate"].startswith("Basic")


@pytest.mark.parametrize(
    ("accepted", "encoding", "body"),
    [
        ("gzip, br", "br", b"brotli"),
        ("gzip, deflate", "gzip", b"gzip"),
        ("br;q=0", "br", b"brotli"),
        ("", None, b"plain"),
        ("brotli", None, b"plain"),
    ],
)
def test_assets_are_kept_for_good_and_sent_compressed_to_who_accepts_that(
    run: Run, serving: Serving, ask: Ask, files: Path, accepted: str, encoding: str | None, body: bytes
) -> None:
    line, wanted = "GET /ui/assets/app-1.js", {"Accept-Encoding": accepted}
    status, headers, got = asked(run, serving, ask, files, line, wanted)
    assert (status, got, headers.get("content-encoding")) == (200, body, encoding)
    assert headers["content-type"] == "text/javascript; charset=utf-8"
    assert "immutable" in headers["cache-control"] and headers["vary"] == "accept-encoding"


def test_a_part_of_a_file_can_be_asked_for(run: Run, serving: Serving, ask: Ask, files: Path) -> None:
    wanted = {"Range": "bytes=2-4"}
    status, headers, body = asked(run, serving, ask, files, "GET /ui/assets/data.bin", wanted)
    assert (status, body, headers["content-range"]) == (206, b"234", "bytes 2-4/10")


def test_head_tells_the_length(run: Run, serving: Serving, ask: Ask, files: Path) -> None:
    status, headers, _ = asked(run, serving, ask, files, "HEAD /ui/assets/data.bin")
    assert (status, headers["content-length"]) == (200, "10")


@pytest.mark.parametrize(
    "path",
    [
        "/ui/missing.js",
        "/ui/assets/missing.css",
        "/ui/..%2Fsecret.txt",
        "/ui/..%2f..%2f..%2f..%2f..%2fetc%2fhosts.txt",
        "/ui/%2Fetc/hosts.conf",
        "/ui/link.txt",
        "/ui/a%00b.js",
        "/ui/" + "a" * 5000 + ".js",
        "/ui/" + "a/" * 5000 + "b.js",
        "/ui/assets%5C..%5Csecret.txt",
    ],
    ids=lambda path: str(path)[:30],
)
def test_what_is_no_file_of_the_ui_is_not_found(
    run: Run, serving: Serving, ask: Ask, files: Path, path: str
) -> None:
    status, _, body = asked(run, serving, ask, files, f"GET {path}")
    assert (status, body) == (404, b"404 page not found\n")


def test_the_icon_is_there_for_everybody(run: Run, serving: Serving, ask: Ask, files: Path) -> None:
    status, headers, body = asked(run, serving, ask, files, "GET /favicon.ico")
    assert (status, headers["content-type"], body) == (200, "image/svg+xml", b"<svg/>")


def test_without_the_built_pages_it_says_how_to_build_them(
    run: Run, serving: Serving, ask: Ask, tmp_path: Path
) -> None:
    status, _, body = asked(run, serving, ask, tmp_path / "nowhere", "GET /ui/")
    assert status == 404 and b"make ui" in body
    assert asked(run, serving, ask, tmp_path / "nowhere", "GET /favicon.ico")[0] == 404
