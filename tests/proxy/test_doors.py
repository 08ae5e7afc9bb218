"""The doors whose path names the model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing
from urllib.parse import unquote

import pytest

from swapyard.config.load import load_text
from swapyard.errors import ClientDisconnected, Fault, RequestError
from swapyard.proxy import doors
from swapyard.proxy.body import Body
from swapyard.proxy.doors import Door, Moved, split_path
from swapyard.proxy.generation import Generation, build
from swapyard.proxy.resolve import Asked
from swapyard.proxy.sending import StreamedBody
from swapyard.proxy.slices import finished
from swapyard.web.messages import Request
from swapyard.web.wire import Wire

Incoming = Callable[..., Request]

CONFIG = """
models:
  author: {cmd: "x ${PORT}"}
  author/model: {cmd: "x ${PORT}", aliases: ["a:b"]}
  "org/m 2": {cmd: "x ${PORT}"}
  m1: {cmd: "x ${PORT}"}
selectors: {pool: {strategy: pin, targets: [m1]}}
profiles:
  day: {pins: {my/pin: author, my: m1, off: "", m1: author/model}}
  night: {pins: {my/pin: author/model, off: ~}}
peers: {cloud: {proxy: "http://127.0.0.1:1", models: [big/one, m1]}}
"""


def generation(text: str = CONFIG) -> Generation:
    async def made() -> Generation:
        return build(load_text(text, {}).config, {})

    return asyncio.run(made())


GENERATION = generation()

with closing(asyncio.new_event_loop()) as loop:
    NOWHERE = Wire(asyncio.Transport(), loop)


def request(path: str, query: str = "", method: str = "GET") -> Request:
    return Request(NOWHERE, method, path.encode(), unquote(path), query.encode(), [], {})


def door(path: str, query: str = "", profile: str | None = None, method: str = "GET") -> Door:
    found = finished(doors.upstream(request(f"/upstream/{path}", query, method), GENERATION, profile))
    assert isinstance(found, Door)
    return found


def moved(path: str, query: str = "", profile: str | None = None, method: str = "GET") -> Moved:
    found = finished(doors.upstream(request(f"/upstream/{path}", query, method), GENERATION, profile))
    assert isinstance(found, Moved)
    return found


@pytest.mark.parametrize(
    ("path", "model", "rest"),
    [
        ("m1/", "m1", b"/"),
        ("m1/a%2Fb/c", "m1", b"/a%2Fb/c"),
        ("author/model/v1/chat", "author/model", b"/v1/chat"),
        ("author%2Fmodel/v1/chat", "author/model", b"/v1/chat"),
        ("author%2fmodel%2fv1/chat", "author/model", b"/v1/chat"),
        ("author/v1/chat", "author", b"/v1/chat"),
        ("org/m%202/%20x", "org/m 2", b"/%20x"),
        ("a:b/x", "author/model", b"/x"),
        ("a%3Ab/x", "author/model", b"/x"),
        ("m1/caf%C3%A9", "m1", b"/caf%C3%A9"),
        ("cloud/big/one/v1/models", "cloud/big/one", b"/v1/models"),
        ("big/one/x", "big/one", b"/x"),
    ],
)
def test_the_longest_leading_name_counts_and_the_rest_keeps_its_encoding(
    path: str, model: str, rest: bytes
) -> None:
    found = door(path, "x=1")
    assert (found.target.model, found.target.path, found.target.query) == (model, rest, b"x=1")
    assert (found.target.local is None) is model.endswith("big/one")


@pytest.mark.parametrize("path", ["", "/", "x/m1/y", "nobody/x", "pool/x", "M1/x", "m1x/"])
def test_a_path_that_begins_with_no_name_is_not_found(path: str) -> None:
    with pytest.raises(RequestError) as refused:
        finished(doors.upstream(request(f"/upstream/{path}"), GENERATION, None))
    assert (refused.value.fault, refused.value.message) == (Fault.NOT_FOUND, "model not found")


@pytest.mark.parametrize(("method", "status"), [("GET", 301), ("HEAD", 301), ("POST", 308), ("PATCH", 308)])
def test_a_name_alone_is_sent_to_the_root_of_its_server(method: str, status: int) -> None:
    assert moved("m1", "tab=logs", method=method) == Moved(status, "/upstream/m1/?tab=logs")
    assert moved("org%2Fm%202", method=method) == Moved(status, "/upstream/org/m%202/")


@pytest.mark.parametrize(
    ("path", "profile", "model", "rest"),
    [
        ("my/pin/x", "day", "author", b"/x"),
        ("my%2Fpin/x", "day", "author", b"/x"),
        ("my/x", "day", "m1", b"/x"),
        ("m1/x", "day", "author/model", b"/x"),
        ("m1/x", None, "m1", b"/x"),
        # profile:model, the older form (issue 3)
        ("night:my/pin/x", None, "author/model", b"/x"),
        ("night:my/pin/x", "day", "author/model", b"/x"),
        ("night%3amy%2Fpin/a%2Fb", None, "author/model", b"/a%2Fb"),
        ("night:m1/x", "day", "m1", b"/x"),
        ("day:m1/x", None, "author/model", b"/x"),
        ("night:cloud/big/one/x", None, "cloud/big/one", b"/x"),
        ("a:b/x", "night", "author/model", b"/x"),
    ],
)
def test_pins_apply_to_the_leading_name(path: str, profile: str | None, model: str, rest: bytes) -> None:
    found = door(path, profile=profile)
    assert (found.target.model, found.target.path) == (model, rest)


def test_a_pinned_name_alone_is_sent_to_its_replacement() -> None:
    assert moved("my/pin", profile="day").location == "/upstream/author/"
    assert moved("night:my/pin", "q=1").location == "/upstream/author/model/?q=1"


@pytest.mark.parametrize(
    "path", ["off/x", "off", "night:off/x", "day:off", "dusk:m1/x", "night:", "night:/x"]
)
def test_a_name_that_a_profile_switches_off_is_not_found(path: str) -> None:
    with pytest.raises(RequestError) as refused:
        finished(doors.upstream(request(f"/upstream/{path}"), GENERATION, "day"))
    assert refused.value.fault is Fault.NOT_FOUND


def test_what_is_recorded_of_a_visit_is_what_its_path_says() -> None:
    chat = door("m1/v1/chat/completions", method="POST").route
    assert chat is not None and chat.metered
    assert door("m1/v1/chat/completions").route is None
    props = door("m1/props").route
    assert props is not None and not props.metered
    assert door("m1/upstream/x").route is None


@pytest.mark.parametrize(
    ("path", "ignored"),
    [("m1/app.js", True), ("m1/a%2Ejs", True), ("m1/js", False), ("m1/x.js/y", False), ("m1/x.JS", False)],
)
def test_paths_that_must_not_start_a_model_are_matched_decoded(path: str, ignored: bool) -> None:
    assert door(path).path_is_ignored is ignored


@pytest.mark.parametrize(
    ("query", "stream"),
    [("stream=true", True), ("a=1&stream=true", True), ("upstream=true", False), ("", False)],
)
def test_whether_it_streams_is_in_the_query(query: str, stream: bool) -> None:
    assert door("m1/x", query).target.stream is stream


def test_a_body_is_shortened_only_towards_a_peer_that_goes_by_another_name() -> None:
    target = door("cloud/m1/v1/chat/completions", method="POST").target
    assert doors.needs_shortening(target, GENERATION)
    asked = Asked("POST", "application/json", b"", Body(b'{"model":"cloud/m1"}'))
    finished(doors.shorten(target, asked, GENERATION))
    assert bytes(target.body.view()) == b'{"model":"m1"}'
    asked = Asked("POST", "application/json", b"", Body(b'{"model":"other"}'))
    finished(doors.shorten(target, asked, GENERATION))
    assert bytes(target.body.view()) == b'{"model":"other"}'
    assert not doors.needs_shortening(door("m1/x").target, GENERATION)
    assert not doors.needs_shortening(door("big/one/x").target, GENERATION)


def test_a_name_is_looked_for_in_as_much_of_a_path_as_a_name_may_have() -> None:
    longest = "/".join(["\u00f6"] * 170)
    for slash in ("/", "%2F"):
        raw = slash.join(["%C3%B6"] * 170)
        assert split_path(raw + slash, lambda name: name == longest) == (longest, "/")
        assert split_path(raw + "/x%2f" * 200_000, lambda name: name == longest) == (
            longest,
            "/x%2f" * 200_000,
        )
    asked: list[str] = []
    assert split_path("x%2F/" * 200_000, asked.append) is None  # type: ignore[arg-type]
    assert len(asked) < 1000 and max(map(len, asked)) < 1540


def test_comfyui_has_one_model_and_keeps_the_encoding_of_its_paths() -> None:
    with pytest.raises(RequestError, match="local model comfyui_auto not found"):
        doors.comfyui(request("/comfyui/"), GENERATION)
    made = generation("models: {comfyui_auto: {cmd: 'x ${PORT}'}}")
    target = doors.comfyui(request("/comfyui/api/a%2Fb", "x=1"), made)
    assert (target.local, target.path, target.query) == ("comfyui_auto", b"/api/a%2Fb", b"x=1")
    assert doors.comfyui(request("/comfyui/"), made).path == b"/"


def test_a_body_is_streamed_with_its_length_or_in_chunks_or_is_none(incoming: Incoming) -> None:
    async def main() -> None:
        assert doors.streamed_body(request("/"), 1) == b""
        counted = doors.streamed_body(incoming(b"one", b"two", length=6), 1)
        assert isinstance(counted, StreamedBody) and counted.length == 6
        chunked = doors.streamed_body(incoming(b"one", b"two"), 1)
        assert isinstance(chunked, StreamedBody) and chunked.length is None
        assert [chunk async for chunk in counted.chunks] == [b"one", b"two"]

    asyncio.run(main())


def test_a_client_that_leaves_within_its_body_is_told_from_the_end_of_it(incoming: Incoming) -> None:
    async def main() -> None:
        body = doors.streamed_body(incoming(None, length=6), 1)
        assert isinstance(body, StreamedBody)
        with pytest.raises(ClientDisconnected):
            await anext(aiter(body.chunks))

    asyncio.run(main())
