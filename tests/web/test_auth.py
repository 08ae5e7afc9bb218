"""API keys: the three places where clients put them, and what does not count."""

from __future__ import annotations

import base64

import pytest

from swapyard.errors import Fault, RequestError
from swapyard.proxy.headers import Local, request_headers
from swapyard.web.auth import Keys

KEYS = Keys(["k1", "k:2"])


def basic(text: str) -> bytes:
    return b"Basic " + base64.b64encode(text.encode())


def admitted(headers: list[tuple[bytes, bytes]]) -> bool:
    try:
        KEYS.admit(headers)
    except RequestError:
        return False
    return True


GOOD = {
    "bearer": [(b"authorization", b"Bearer k1")],
    "lower case scheme": [(b"authorization", b"bearer k1")],
    "colon in a bearer token": [(b"authorization", b"Bearer k:2")],
    "x-api-key": [(b"x-api-key", b"k1")],
    "basic": [(b"authorization", basic("anybody:k1"))],
    "colon in a password": [(b"authorization", basic("x:k:2"))],
    "broken basic before x-api-key": [(b"authorization", b"Basic %%%"), (b"x-api-key", b"k1")],
    "basic without a colon before x-api-key": [(b"authorization", basic("k1")), (b"x-api-key", b"k1")],
    "basic without a password before x-api-key": [(b"authorization", basic("k1:")), (b"x-api-key", b"k1")],
    "another scheme before x-api-key": [(b"authorization", b"Token k2"), (b"x-api-key", b"k1")],
}

BAD: dict[str, list[tuple[bytes, bytes]]] = {
    "nothing": [],
    "two blanks": [(b"authorization", b"Bearer  k1")],
    "bare key": [(b"authorization", b"k1")],
    "another scheme": [(b"authorization", b"Token k1")],
    "wrong bearer before right x-api-key": [(b"authorization", b"Bearer bad"), (b"x-api-key", b"k1")],
    "wrong basic before right x-api-key": [(b"authorization", basic("x:bad")), (b"x-api-key", b"k1")],
    "bearer without a token": [(b"authorization", b"Bearer")],
    "the key as user name": [(b"authorization", basic("k1:"))],
    "a prefix": [(b"x-api-key", b"k")],
    "another case": [(b"x-api-key", b"K1")],
    "empty": [(b"x-api-key", b"")],
    "no UTF-8": [(b"x-api-key", b"\xff\xfe")],
    "a cookie": [(b"cookie", b"api_key=k1")],
}


@pytest.mark.parametrize("headers", GOOD.values(), ids=GOOD.keys())
def test_who_brings_a_key_is_let_in(headers: list[tuple[bytes, bytes]]) -> None:
    assert admitted(headers)


@pytest.mark.parametrize("headers", BAD.values(), ids=BAD.keys())
def test_who_brings_none_is_not(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(RequestError) as refused:
        KEYS.admit(headers)
    assert refused.value.fault is Fault.UNAUTHORIZED
    assert refused.value.message == "unauthorized: invalid or missing API key"


def test_our_own_page_is_refused_as_such() -> None:
    with pytest.raises(RequestError) as refused:
        KEYS.admit([(b"x-requested-with", b"swapyard")])
    assert refused.value.fault is Fault.UNAUTHORIZED_PAGE


@pytest.mark.parametrize(
    "headers",
    [*GOOD.values(), [(b"authorization", b"Basic  " + base64.b64encode(b"x:k1"))]],
    ids=[*GOOD.keys(), "basic after two blanks"],
)
def test_whatever_opens_our_door_is_not_shown_to_an_upstream(headers: list[tuple[bytes, bytes]]) -> None:
    """Both sides must read a credential alike, or a key leaks."""
    passed = request_headers(headers, Local(), own_keys={"k1", "k:2"})
    assert not admitted(headers) or not admitted(passed)


def test_without_configured_keys_everybody_is_let_in_and_nobody_has_a_name() -> None:
    assert Keys(None).admit([(b"x-api-key", b"anything")]).key == ""


def test_an_empty_list_of_keys_lets_nobody_in() -> None:
    with pytest.raises(RequestError):
        Keys(()).admit([(b"x-api-key", b"")])


def test_a_caller_is_named_after_the_key_without_giving_it_away() -> None:
    one = KEYS.admit([(b"x-api-key", b"k1")]).key
    other = KEYS.admit([(b"x-api-key", b"k:2")]).key
    assert one and other and one != other and "k1" not in one
