"""Addresses: what is refused and what passes, however odd."""

from __future__ import annotations

import pytest

from swapyard.config.urls import is_http, url_problem


@pytest.mark.parametrize(
    "url",
    ["", "http://h", "http://[::1]:80/x", "localhost:80", "/only/path", "http://user:p@h:1?q=:", "HTTPS://h"],
)
def test_lenient_addresses_pass(url: str) -> None:
    assert url_problem(url) is None


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("127.0.0.1:80", "colon"),
        ("://x", "missing protocol scheme"),
        ("http://h:port", "invalid port"),
        ("http://[::1", "missing ']'"),
        ("http://a b/", "the host"),
        ("http://h/%zz", "hex digits"),
        ("http://h/\n", "control character"),
    ],
)
def test_what_is_no_address_is_named(url: str, reason: str) -> None:
    assert reason in str(url_problem(url))


def test_only_http_can_be_talked_to() -> None:
    assert is_http("https://h/base")
    assert not is_http("localhost:80")
    assert not is_http("http:///path")
