"""The web UI's files: compressed variants, caching, and nothing outside their folder."""

from __future__ import annotations

import mimetypes
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, PlainTextResponse

from swapyard.api import gate
from swapyard.api.services import Services
from swapyard.errors import RequestError

FILES = Path(__file__).parent.parent / "web" / "ui"

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' data: blob:; connect-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'self'"
)

# The platform's own table may lack these or know them differently.
TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".svg": "image/svg+xml",
    ".ico": "image/vnd.microsoft.icon",
    ".woff2": "font/woff2",
    ".webmanifest": "application/manifest+json",
    ".json": "application/json",
}

LONGEST_PATH = 255
"""Characters; no file of ours has a longer name, and the system is asked about each folder of a path."""

NOT_BUILT = "The web UI is not part of this installation. `make ui` builds it; the API works without it.\n"


def routes(services: Services, files: Path = FILES) -> APIRouter:
    router = APIRouter(include_in_schema=False)
    root = files.resolve()
    key_check = gate.key_check(services)

    @router.get("/ui/{path:path}")
    async def page(request: Request, path: str) -> Response:
        found = _inside(root, path)
        if found is None or found.suffix == ".html":
            try:
                key_check(request)
            except RequestError:
                if "text/html" not in request.headers.get("accept", ""):
                    raise
                # A browser gets the page all the same, which asks for the key and shows nothing before; the
                # files that belong to it tell no more than what anybody can install.
                return _send(request, root / "index.html", locked=True)
        if found is None and "." in path.rpartition("/")[2]:
            return PlainTextResponse("404 page not found\n", 404)
        return _send(request, found or root / "index.html")

    @router.get("/favicon.ico")
    async def icon(request: Request) -> Response:
        for name in ("favicon.ico", "favicon.svg"):
            if (found := _inside(root, name)) is not None:
                return _send(request, found)
        return PlainTextResponse("404 page not found\n", 404)

    @router.get("/ui")
    async def bare() -> Response:
        return Response(status_code=307, headers={"location": "/ui/"})

    return router


def _inside(root: Path, path: str) -> Path | None:
    """The file of that name in the folder; None for folders, missing files and anything outside."""
    if len(path) > LONGEST_PATH:
        return None
    try:
        found = (root / path).resolve()
        return found if found.is_relative_to(root) and found.is_file() else None
    except (OSError, ValueError):  # no name of a file, or one that has a NUL in it
        return None


def _send(request: Request, file: Path, *, locked: bool = False) -> Response:
    if not file.is_file():
        return PlainTextResponse(NOT_BUILT, 404)
    if request.scope.get("head"):
        # Then the file is not even opened.
        request.scope["method"] = "HEAD"
    kind = TYPES.get(file.suffix) or mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    headers = {"content-type": kind, "x-content-type-options": "nosniff", "vary": "accept-encoding"}
    if file.parent.name == "assets":
        headers["cache-control"] = "public, max-age=31536000, immutable"
    elif file.suffix == ".html":
        headers["cache-control"] = "no-cache"
    else:
        # Browsers ask for the icon with every change of the address.
        headers["cache-control"] = "public, max-age=86400"
    if file.suffix == ".html":
        headers["content-security-policy"] = CONTENT_SECURITY_POLICY
        headers["referrer-policy"] = "no-referrer"
    if locked:
        headers["www-authenticate"] = 'Bearer realm="llama-swap"'
    status = 401 if locked else 200
    accepted = {item.split(";")[0].strip() for item in request.headers.get("accept-encoding", "").split(",")}
    for encoding, suffix in (("br", ".br"), ("gzip", ".gz")):
        packed = file.with_name(file.name + suffix)
        if encoding in accepted and packed.is_file():
            return FileResponse(packed, status, {**headers, "content-encoding": encoding})
    return FileResponse(file, status, headers)
