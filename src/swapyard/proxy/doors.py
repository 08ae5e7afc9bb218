"""The doors whose path names the model: `/upstream/<model>/…` and `/comfyui/…`."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from urllib.parse import quote, unquote

from swapyard.config.names import LONGEST_NAME_BYTES
from swapyard.config.patterns import LONGEST_TEXT_BYTES
from swapyard.config.schema import COMFYUI_MODEL
from swapyard.errors import Fault, RequestError
from swapyard.proxy import identify, resolve, routes
from swapyard.proxy.body import Body
from swapyard.proxy.generation import Generation
from swapyard.proxy.json_scan import Walk
from swapyard.proxy.resolve import Asked, Target
from swapyard.proxy.routes import Route
from swapyard.proxy.sending import StreamedBody
from swapyard.web.messages import Request

_LONGEST_NAME = 3 * LONGEST_NAME_BYTES
"""Characters of a raw path in which its leading name is looked for: three for each byte of a name."""

_LONGEST_DECODED = 3 * LONGEST_TEXT_BYTES
"""Characters of a raw path that is decoded: a longer one is no route's, and is not compared with patterns."""

_COLON = re.compile(":|%3a", re.IGNORECASE)
_SLASH = re.compile("/|%2f", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Moved:
    """The path names a model and nothing more: its server's root is one slash further."""

    status: int
    location: str


@dataclass(frozen=True, slots=True)
class Door:
    """A target with what its path says; `route` is the row that tells what is recorded, None for nothing."""

    target: Target
    rest: str
    route: Route | None
    path_is_ignored: bool


def upstream(request: Request, generation: Generation, profile: str | None) -> Walk[Door | Moved]:
    """Whom `/upstream/<model>/…` leads to.  RequestError (NOT_FOUND) when it names no model."""
    raw = request.raw_path.decode("latin-1").removeprefix(routes.UPSTREAM.path)
    raw = _meant(raw, generation, profile)
    query = request.query
    found = split_path(raw, _names_of(generation))
    if found is None:
        raise RequestError(Fault.NOT_FOUND, "model not found")
    name, rest = found
    if not rest:
        location = f"{routes.UPSTREAM.path}{quote(name)}/"
        status = 301 if request.method in ("GET", "HEAD") else 308
        return Moved(status, f"{location}?{query.decode('latin-1')}" if query else location)
    path = unquote(rest) if len(rest) <= _LONGEST_DECODED else rest
    stream = yield from identify.query_asks_for_stream(query)
    target = Target(name, name, stream, rest.encode("latin-1"), query, Body())
    resolve.find(target, generation)
    row = routes.find(request.method, path)
    route = row if isinstance(row, Route) and row.methods else None
    return Door(target, path, route, generation.config.upstream.ignores(path))


def comfyui(request: Request, generation: Generation) -> Target:
    """The one model that has a path of its own.  RequestError (NOT_FOUND) when there is none."""
    if COMFYUI_MODEL not in generation.config.models:
        raise RequestError(Fault.NOT_FOUND, f"local model {COMFYUI_MODEL} not found")
    rest = request.raw_path.removeprefix(routes.COMFYUI.path.rstrip("/").encode())
    target = Target(COMFYUI_MODEL, COMFYUI_MODEL, False, rest, request.query, Body())
    target.local = COMFYUI_MODEL
    return target


def needs_shortening(target: Target, generation: Generation) -> bool:
    """Whether the request itself may name a peer's model by the name that only we know."""
    return target.peer is not None and resolve.bare_name(target, generation) is not None


def shorten(target: Target, asked: Asked, generation: Generation) -> Walk[None]:
    """Replace the qualified name in body and query, where it stands there, by the peer's own."""
    yield from resolve.shorten_peer_name(target, asked, generation)
    target.query, target.body = asked.query, asked.body


def streamed_body(request: Request, timeout: float) -> StreamedBody | bytes:
    """The body as it comes, unread; b"" when the request has none.  `timeout` is that of `Request.read`."""
    if request.length == 0:
        return b""
    return StreamedBody(_chunks(request, timeout), request.length)


async def _chunks(request: Request, timeout: float) -> AsyncIterator[bytes]:
    while chunk := await request.read(timeout):
        yield chunk


def _meant(raw: str, generation: Generation, profile: str | None) -> str:
    """The path with its leading name replaced by what it means, in the order of `resolve.meant`."""
    pinned = _pinned(raw, generation, profile)
    if pinned is not None:
        return pinned
    colon = _COLON.search(raw, 0, _LONGEST_NAME + 3)
    if colon is None or split_path(raw, _names_of(generation)) is not None:
        return raw
    asked_profile, rest = unquote(raw[: colon.start()]), raw[colon.end() :]
    if asked_profile not in generation.config.profiles:
        return raw
    pinned = _pinned(rest, generation, asked_profile)
    return rest if pinned is None else pinned


def _pinned(raw: str, generation: Generation, profile: str | None) -> str | None:
    """The path with its leading name replaced as this profile says, None if it does not."""
    found = split_path(raw, lambda name: resolve.pin(generation, profile, name) is not None)
    if found is None:
        return None
    name, rest = found
    return quote(resolve.pin(generation, profile, name) or "") + rest


def _names_of(generation: Generation) -> Callable[[str], bool]:
    return lambda name: bool(name) and generation.names.resolve(name) is not None


def split_path(raw: str, knows: Callable[[str], bool]) -> tuple[str, str] | None:
    """(name, rest): the longest leading part of a raw path whose decoded form `knows` accepts.

    Encoded slashes count as slashes (`org%2Fmodel` names `org/model`); the rest keeps its encoding, "" or
    beginning with a slash.
    """
    segments: list[str] = []
    cuts: list[tuple[int, int]] = []
    begin = 0
    for slash in _SLASH.finditer(raw, 0, _LONGEST_NAME + 3):
        segments.append(unquote(raw[begin : slash.start()]))
        cuts.append(slash.span())
        begin = slash.end()
    if len(raw) <= _LONGEST_NAME:
        segments.append(unquote(raw[begin:]))
        cuts.append((len(raw), len(raw)))
    for count in range(len(segments), 0, -1):
        name = "/".join(segments[:count])
        if knows(name):
            end, rest = cuts[count - 1]
            return name, "" if end == len(raw) else "/" + raw[rest:]
    return None
