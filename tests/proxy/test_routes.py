"""The table of data-plane routes."""

from __future__ import annotations

import pytest

from swapyard.observe.parts import Parts
from swapyard.proxy.routes import (
    COMFYUI,
    ROUTES,
    UPSTREAM,
    MethodNotAllowed,
    Redirect,
    Route,
    cleaned,
    find,
    redirect,
)


def route(method: str, path: str) -> Route:
    found = find(method, path)
    assert isinstance(found, Route)
    return found


@pytest.mark.parametrize("row", [row for row in ROUTES if row.methods], ids=lambda row: row.path)
def test_every_row_is_found_under_each_of_its_methods(row: Route) -> None:
    for method in row.methods:
        assert find(method, row.path) is row


@pytest.mark.parametrize("path", ["/v1/audio/voices", "/sdapi/v1/loras", "/props"])
def test_head_goes_where_get_goes_and_is_not_metered(path: str) -> None:
    assert route("HEAD", path) is route("GET", path)
    assert not route("GET", path).metered


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/audio/voices", "GET, HEAD, POST"),
        ("GET", "/v1/chat/completions", "POST"),
        ("POST", "/props", "GET, HEAD"),
        ("DELETE", "/v/embeddings", "POST"),
    ],
)
def test_a_wrong_method_is_told_which_ones_go(method: str, path: str, allowed: str) -> None:
    assert find(method, path) == MethodNotAllowed(allowed)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1/models",
        "/v1/chat/completions/",
        "/chat/completions",
        "/v1/embedding",
        "/upstream",
        "/V1/messages",
    ],
)
def test_paths_of_others_are_not_in_the_table(path: str) -> None:
    assert find("POST", path) is None


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PATCH", "DELETE"])
def test_the_families_take_every_method_and_whatever_follows(method: str) -> None:
    assert find(method, "/upstream/org/m/v1/chat/completions") is UPSTREAM
    assert find(method, "/upstream/") is UPSTREAM
    assert find(method, "/comfyui/") is COMFYUI


@pytest.mark.parametrize(
    ("path", "upstream_path"),
    [
        ("/v/chat/completions", "/chat/completions"),
        ("/v/messages/count_tokens", "/messages/count_tokens"),
        ("/audioapi/v1/tasks/run", "/v1/tasks/run"),
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/infill", "/infill"),
    ],
)
def test_the_upstream_sees_the_path_without_our_prefix(path: str, upstream_path: str) -> None:
    assert route("POST", path).upstream_path == upstream_path


H = Parts.REQUEST_HEADERS | Parts.RESPONSE_HEADERS


@pytest.mark.parametrize(
    ("path", "stored"),
    [
        ("/v1/chat/completions", Parts.ALL),
        ("/v1/audio/speech", H | Parts.REQUEST_BODY),
        ("/v1/audio/voices", H | Parts.RESPONSE_BODY),
        ("/v1/audio/transcriptions", H | Parts.RESPONSE_BODY),
        ("/v1/images/generations", H | Parts.REQUEST_BODY),
        ("/v1/images/edits", H),
        ("/sdapi/v1/txt2img", H | Parts.REQUEST_BODY),
        ("/sdapi/v1/img2img", H),
        ("/audioapi/v1/tasks/run", Parts.ALL),
    ],
)
def test_captures_leave_out_what_is_audio_image_or_upload(path: str, stored: Parts) -> None:
    assert route("POST", path).stored == stored
    assert route("POST", path).metered


def test_only_v1_chat_completions_shows_the_loading_state() -> None:
    assert [row.path for row in ROUTES if row.shows_loading] == ["/v1/chat/completions"]


@pytest.mark.parametrize(
    ("path", "clean"),
    [
        ("//v1/models", "/v1/models"),
        ("/v1/../health", "/health"),
        ("/v1/./models/", "/v1/models/"),
        ("/a/..", "/"),
        ("/../..", "/"),
        ("/upstream/m//x/", "/upstream/m/x/"),
        ("", "/"),
        ("/", None),
        ("/v1/models/", None),
        ("/upstream/a%2F..%2Fb/.hidden/..x", None),
        ("/a/...", None),
    ],
)
def test_paths_are_cleaned_of_empty_and_dot_segments(path: str, clean: str | None) -> None:
    assert cleaned(path) == clean


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "//v1/models", Redirect(307, "/v1/models")),
        ("GET", "/comfyui", Redirect(301, "/comfyui/")),
        ("POST", "/comfyui", Redirect(308, "/comfyui/")),
        ("POST", "/upstream", Redirect(307, "/upstream/")),
        ("GET", "/upstream", None),
        ("GET", "/comfyui/", None),
    ],
)
def test_paths_that_are_not_quite_right_are_redirected(
    method: str, path: str, expected: Redirect | None
) -> None:
    assert redirect(method, path) == expected
