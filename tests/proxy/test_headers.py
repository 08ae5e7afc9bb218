"""Header rules, as dialogues: what a client sent, what the upstream gets, and the way back."""

from __future__ import annotations

import base64

import pytest

from swapyard.proxy.headers import (
    Headers,
    Local,
    Peer,
    request_headers,
    response_headers,
    switching_headers,
)
from swapyard.web.fields import is_event_stream, is_websocket

LOCAL = Local()
FAR = Peer(b"far.example")


def test_ordinary_headers_pass_in_order_and_with_repeats() -> None:
    headers = [
        (b"host", b"front.example:81"),
        (b"x-custom", b"one"),
        (b"authorization", b"Bearer theirs"),
        (b"x-custom", b"two"),
        (b"x-forwarded-proto", b"https"),
        (b"user-agent", b"agent/7"),
        (b"expect", b"100-continue"),
    ]
    assert request_headers(headers, LOCAL) == headers


def test_nothing_is_invented_for_an_empty_request() -> None:
    assert request_headers([], LOCAL, narrow_encoding=True) == []


@pytest.mark.parametrize(
    "name",
    [
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    ],
)
def test_hop_by_hop_headers_end_here_in_both_directions(name: bytes) -> None:
    assert request_headers([(name, b"x"), (b"a", b"1")], LOCAL) == [(b"a", b"1")]
    assert response_headers([(name, b"x"), (b"a", b"1")]) == [(b"a", b"1")]


def test_headers_that_connection_names_are_hop_by_hop_too() -> None:
    headers = [
        (b"x-a", b"1"),
        (b"connection", b"close, X-A"),
        (b"x-b", b"2"),
        (b"connection", b"x-b"),
        (b"x-c", b"3"),
    ]
    assert request_headers(headers, LOCAL) == [(b"x-c", b"3")]
    assert response_headers(headers) == [(b"x-c", b"3")]


def test_the_length_of_a_request_is_left_to_the_body_and_that_of_an_answer_passes() -> None:
    headers = [(b"content-length", b"5")]
    assert request_headers(headers, LOCAL) == []
    assert response_headers(headers) == headers


@pytest.mark.parametrize(
    ("te", "kept"),
    [
        (b"trailers", [(b"te", b"trailers")]),
        (b"gzip;q=0.5, Trailers", [(b"te", b"trailers")]),
        (b"gzip", []),
    ],
)
def test_of_te_only_trailers_is_kept(te: bytes, kept: Headers) -> None:
    assert request_headers([(b"te", te), (b"connection", b"TE")], LOCAL) == kept


@pytest.mark.parametrize(
    "headers",
    [
        [(b"connection", b"Upgrade"), (b"upgrade", b"websocket")],
        [(b"connection", b"keep-alive, UPGRADE"), (b"upgrade", b"h2c, WebSocket")],
        [
            (b"connection", b"close"),
            (b"upgrade", b"h2c"),
            (b"connection", b"upgrade"),
            (b"upgrade", b"websocket"),
        ],
    ],
)
def test_a_websockets_upgrade_is_put_back(headers: Headers) -> None:
    assert is_websocket(headers)
    assert request_headers([*headers, (b"sec-websocket-key", b"k")], LOCAL) == [
        (b"sec-websocket-key", b"k"),
        (b"connection", b"Upgrade"),
        (b"upgrade", b"websocket"),
    ]


@pytest.mark.parametrize(
    "headers",
    [
        [(b"connection", b"Upgrade"), (b"upgrade", b"h2c")],
        [(b"upgrade", b"websocket")],
        [(b"connection", b"Upgrade")],
        [(b"connection", b"no-upgrade"), (b"upgrade", b"websocket")],
    ],
)
def test_other_upgrades_are_dropped(headers: Headers) -> None:
    assert not is_websocket(headers)
    assert request_headers(headers, LOCAL) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], [(b"x-forwarded-for", b"10.0.0.9")]),
        ([(b"x-forwarded-for", b"1.1.1.1")], [(b"x-forwarded-for", b"1.1.1.1, 10.0.0.9")]),
        (
            [(b"x-forwarded-for", b"1.1.1.1 ,2.2.2.2"), (b"a", b"1"), (b"x-forwarded-for", b"3.3.3.3")],
            [(b"x-forwarded-for", b"1.1.1.1, 2.2.2.2, 3.3.3.3, 10.0.0.9"), (b"a", b"1")],
        ),
    ],
)
def test_the_clients_address_is_appended_for_a_local_model(before: Headers, after: Headers) -> None:
    assert request_headers(before, Local("10.0.0.9")) == after


def test_a_peer_sees_its_own_host_and_learns_nothing_about_the_client() -> None:
    """E-22: without a key of the peer's the client's own credentials pass."""
    headers = [
        (b"host", b"front.example"),
        (b"x-forwarded-for", b"1.1.1.1"),
        (b"forwarded", b"for=1.1.1.1"),
        (b"x-forwarded-host", b"front.example"),
        (b"x-forwarded-proto", b"https"),
        (b"authorization", b"Bearer theirs"),
    ]
    assert request_headers(headers, FAR) == [(b"host", b"far.example"), (b"authorization", b"Bearer theirs")]


@pytest.mark.parametrize("headers", [[], [(b"authorization", b"Bearer mine")], [(b"x-api-key", b"mine")]])
def test_e22_a_peers_key_replaces_the_clients_credentials(headers: Headers) -> None:
    assert request_headers(headers, Peer(b"far", "sk-peer")) == [
        (b"host", b"far"),
        (b"authorization", b"Bearer sk-peer"),
        (b"x-api-key", b"sk-peer"),
    ]


def test_a_peers_key_does_not_show_in_a_log_line() -> None:
    assert "sk-peer" not in repr(Peer(b"far", "sk-peer"))


def basic(user_and_password: bytes) -> bytes:
    return b"basic " + base64.b64encode(user_and_password)


@pytest.mark.parametrize("towards", [LOCAL, FAR])
@pytest.mark.parametrize(
    "credential",
    [
        (b"authorization", b"Bearer k1"),
        (b"authorization", b"bearer k:2"),
        (b"authorization", basic(b"me:k1")),
        (b"authorization", basic(b":k:2")),
        (b"x-api-key", b"k1"),
    ],
)
def test_the_key_to_our_own_door_goes_no_further(
    towards: Local | Peer, credential: tuple[bytes, bytes]
) -> None:
    headers = [(b"host", b"far.example"), credential]
    assert request_headers(headers, towards, own_keys=["k1", "k:2"]) == [(b"host", b"far.example")]


@pytest.mark.parametrize(
    "credential",
    [
        (b"authorization", b"Bearer theirs"),
        (b"authorization", b"Bearer  k1"),
        (b"authorization", b"Token k1"),
        (b"authorization", basic(b"k1:theirs")),
        (b"authorization", b"Basic ???"),
        (b"authorization", b"k1"),
        (b"x-api-key", b"theirs"),
        (b"cookie", b"k1"),
    ],
)
def test_every_other_credential_belongs_to_the_upstream(credential: tuple[bytes, bytes]) -> None:
    assert request_headers([credential], LOCAL, own_keys=["k1"]) == [credential]


def test_our_key_is_dropped_and_the_upstreams_beside_it_is_kept() -> None:
    headers = [(b"authorization", b"Bearer k1"), (b"x-api-key", b"theirs")]
    assert request_headers(headers, LOCAL, own_keys=["k1"]) == [(b"x-api-key", b"theirs")]


@pytest.mark.parametrize(
    ("sent", "asked"),
    [
        (b"gzip, deflate, br, zstd", b"gzip, deflate"),
        (b"gzip;q=0.5, br", b"gzip;q=0.5"),
        (b"br,GZIP", b"GZIP"),
        (b"deflate", b"deflate"),
        (b"br, zstd", b"identity"),
        (b"identity, zstd", b"identity"),
        (b"*", b"identity"),
        (b"", b"identity"),
    ],
)
def test_a_recorded_answer_may_only_be_compressed_as_the_recorder_can_read(sent: bytes, asked: bytes) -> None:
    headers = [(b"accept-encoding", sent), (b"a", b"1")]
    assert request_headers(headers, LOCAL, narrow_encoding=True) == [
        (b"accept-encoding", asked),
        (b"a", b"1"),
    ]
    assert request_headers(headers, LOCAL) == headers


def test_several_accept_encoding_headers_become_one() -> None:
    headers = [
        (b"accept-encoding", b"br"),
        (b"accept-encoding", b"gzip, zstd"),
        (b"accept-encoding", b"deflate"),
    ]
    assert request_headers(headers, LOCAL, narrow_encoding=True) == [(b"accept-encoding", b"gzip, deflate")]


def test_an_answers_headers_pass_in_order_and_with_repeats() -> None:
    headers = [
        (b"date", b"then"),
        (b"set-cookie", b"a=1; Path=/"),
        (b"server", b"responder/1"),
        (b"set-cookie", b"b=2"),
        (b"x-empty", b""),
        (b"content-encoding", b"gzip"),
    ]
    assert response_headers(headers) == headers


@pytest.mark.parametrize("media", [b"text/event-stream", b"Text/Event-Stream; charset=utf-8"])
def test_an_event_stream_asks_proxies_in_front_not_to_gather_it(media: bytes) -> None:
    headers = [(b"x-accel-buffering", b"yes"), (b"content-type", media)]
    assert is_event_stream(headers)
    assert response_headers(headers) == [(b"content-type", media), (b"x-accel-buffering", b"no")]


def test_a_switch_of_protocols_is_passed_on() -> None:
    headers = [(b"upgrade", b"WebSocket"), (b"connection", b"Upgrade"), (b"sec-websocket-accept", b"s")]
    assert switching_headers(headers) == [
        (b"sec-websocket-accept", b"s"),
        (b"connection", b"Upgrade"),
        (b"upgrade", b"WebSocket"),
    ]
