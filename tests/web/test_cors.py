"""What browsers ask: preflights for everybody, and no other site in the control plane."""

from __future__ import annotations

import pytest

from swapyard.errors import Fault, RequestError
from swapyard.web import cors


def allowed_headers(asked: bytes | None) -> bytes:
    headers = [] if asked is None else [(b"access-control-request-headers", asked)]
    return dict(cors.preflight(headers))[b"access-control-allow-headers"]


def test_a_preflight_allows_any_origin_for_a_day() -> None:
    assert dict(cors.preflight([])) == {
        b"access-control-allow-origin": b"*",
        b"access-control-allow-methods": b"GET, POST, PUT, PATCH, DELETE, OPTIONS",
        b"access-control-allow-headers": b"Content-Type, Authorization, Accept, X-Requested-With",
        b"access-control-max-age": b"86400",
    }


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        (b"x-stainless-os, authorization, bad name", b"x-stainless-os, authorization"),
        (b"X-A,x-b ,\tx-c", b"X-A, x-b, x-c"),
        (b"user@host", b""),
        (b"!#$%&'*+-.^_`|~", b"!#$%&'*+-.^_`|~"),
        (b"", b"Content-Type, Authorization, Accept, X-Requested-With"),
        ("é".encode(), b""),
        (b"a,,b,", b"a, b"),
    ],
)
def test_the_asked_for_headers_are_echoed_if_they_are_header_names(asked: bytes, allowed: bytes) -> None:
    assert allowed_headers(asked) == allowed


HERE: list[list[tuple[bytes, bytes]]] = [
    [],
    [(b"host", b"yard:8080")],
    [(b"host", b"yard:8080"), (b"origin", b"http://yard:8080")],
    [(b"host", b"yard:8080"), (b"origin", b"http://yard:3000")],
    [(b"host", b"YARD"), (b"origin", b"https://yard")],
    [(b"host", b"[::1]:8080"), (b"origin", b"http://[::1]:8080")],
    [(b"host", b"yard"), (b"sec-fetch-site", b"same-origin")],
    [(b"host", b"yard"), (b"sec-fetch-site", b"none")],
    [(b"host", b"yard"), (b"sec-fetch-site", b"same-site"), (b"origin", b"http://other")],
]

ELSEWHERE: list[list[tuple[bytes, bytes]]] = [
    [(b"host", b"yard:8080"), (b"origin", b"http://evil.example")],
    [(b"host", b"yard:8080"), (b"origin", b"null")],
    [(b"origin", b"null")],
    [(b"host", b"yard"), (b"origin", b"http://[broken")],
    [(b"host", b"[broken"), (b"origin", b"http://[broken")],
    [(b"host", b"yard"), (b"sec-fetch-site", b"cross-site")],
    [(b"host", b"yard"), (b"origin", b"http://yard"), (b"sec-fetch-site", b"cross-site")],
]


@pytest.mark.parametrize("headers", HERE)
def test_programs_and_our_own_pages_may_use_the_control_plane(headers: list[tuple[bytes, bytes]]) -> None:
    cors.refuse_other_sites(headers)


@pytest.mark.parametrize("headers", ELSEWHERE)
def test_pages_of_other_sites_may_not(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(RequestError) as refused:
        cors.refuse_other_sites(headers)
    assert refused.value.fault is Fault.FORBIDDEN
