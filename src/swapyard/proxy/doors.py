"""The doors whose path names the model: `/upstream/<model>/…` and `/comfyui/…`."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from urllib.parse import quote, unquote

from swapyard.config.schema import COMFYUI_MODEL
from swapyard.errors import Fault, RequestError
from swapyard.proxy import headers, identify, resolve, routes
from swapyard.proxy.body import Body, ClientLeft
from swapyard.proxy.generation import Generation
from swapyard.proxy.json_scan import Walk
from swapyard.proxy.resolve import Asked, Target
from swapyard.proxy.routes import Route
from swapyard.proxy.sending import StreamedBody
from swapyard.web.server import Receive, Scope

LONGEST_NAME = 2048
"""Characters of a path in which its leading name is looked for: every slash among them is tried."""

_COLON = re.compile(":|%3a", re.IGNORECASE)


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


def upstream(scope: Scope, generation: Generation, profile: str | None) -> Walk[Door | Moved]:
    """Whom `/upstream/<model>/…` leads to.  RequestError (NOT_FOUND) when it names no model."""
    raw = scope["raw_path"].decode("latin-1").removeprefix(routes.UPSTREAM.path)
    raw = _meant(raw, generation, profile)
    query: bytes = scope["query_string"]
    found = split_path(raw, _names_of(generation))
    if found is None:
        raise RequestError(Fault.NOT_FOUND, "model not found")
    name, rest = found
    if not rest:
        location = f"{routes.UPSTREAM.path}{quote(name)}/"
        status = 301 if scope["method"] in ("GET", "HEAD") else 308
        return Moved(status, f"{location}?{query.decode('latin-1')}" if query else location)
    path = unquote(rest)
    stream = yield from identify.query_asks_for_stream(query)
    target = Target(name, name, stream, rest.encode("latin-1"), query, Body())
    resolve.find(target, generation)
    row = routes.find(scope["method"], path)
    route = row if isinstance(row, Route) and row.methods else None
    return Door(target, path, route, generation.config.upstream.ignores(path))


def comfyui(scope: Scope, generation: Generation) -> Target:
    """The one model that has a path of its own.  RequestError (NOT_FOUND) when there is none."""
    if COMFYUI_MODEL not in generation.config.models:
        raise RequestError(Fault.NOT_FOUND, f"local model {COMFYUI_MODEL} not found")
    rest = scope["raw_path"].removeprefix(routes.COMFYUI.path.rstrip("/").encode())
    target = Target(COMFYUI_MODEL, COMFYUI_MODEL, False, rest, scope["query_string"], Body())
    target.local = COMFYUI_MODEL
    return target


def needs_shortening(target: Target, generation: Generation) -> bool:
    """Whether the request itself may name a peer's model by the name that only we know."""
    return target.peer is not None and resolve.bare_name(target, generation) is not None


def shorten(target: Target, asked: Asked, generation: Generation) -> Walk[None]:
    """Replace the qualified name in body and query, where it stands there, by the peer's own."""
    yield from resolve.shorten_peer_name(target, asked, generation)
    target.query, target.body = asked.query, asked.body


def streamed_body(scope: Scope, receive: Receive) -> StreamedBody | bytes:
    """The body as it comes, unread; b"" when the request has none."""
    length = headers.first(scope["headers"], b"content-length")
    chunked = headers.first(scope["headers"], b"transfer-encoding") is not None
    if not chunked and (length is None or length == b"0"):
        return b""
    return StreamedBody(_chunks(receive), None if length is None else int(length))


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        yield message.get("body", b"")
        more = message.get("more_body", False)


def _meant(raw: str, generation: Generation, profile: str | None) -> str:
    """The path with its leading name replaced by what it means, in the order of `resolve.meant`."""
    pinned = _pinned(raw, generation, profile)
    if pinned is not None:
        return pinned
    colon = _COLON.search(raw)
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
    lowered = raw[: LONGEST_NAME + 3].lower()
    cuts = {len(raw)} if len(raw) <= LONGEST_NAME else set()
    for mark in ("/", "%2f"):
        at = lowered.find(mark)
        while 0 <= at <= LONGEST_NAME:
            cuts.add(at)
            at = lowered.find(mark, at + 1)
    for cut in sorted(cuts, reverse=True):
        if knows(unquote(raw[:cut])):
            rest = raw[cut:]
            return unquote(raw[:cut]), "/" + rest[3:] if rest[:3].lower() == "%2f" else rest
    return None
