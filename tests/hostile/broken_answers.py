"""Answers of model servers that are wrong, late or cut, each with what the client has to be told.

Sources: RFC 9112 4 to 9, RFC 9110 15; where they leave a choice the row lists every honest outcome.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Steps = list[list[Any]]
"""What `obedient_model` is to do."""


@dataclass(frozen=True)
class Refused:
    """One error of our own; the client's connection goes on."""

    status: int = 502
    code: str = "bad_gateway"


@dataclass(frozen=True)
class Passed:
    """The upstream's answer, whole; None for any body."""

    status: int = 200
    body: bytes | None = b"hello"


@dataclass(frozen=True)
class Cut:
    """The beginning of the upstream's answer, and an end that nobody takes for a good one."""

    status: int = 200
    beginning: bytes = b"hello"


@dataclass(frozen=True)
class StreamCut:
    """Events as they came, one event that tells of the error, and then the connection is cut."""

    said: bytes


Outcome = Refused | Passed | Cut | StreamCut


@dataclass(frozen=True)
class Broken:
    name: str
    steps: Steps
    outcomes: tuple[Outcome, ...]
    method: str = "POST"
    informational: tuple[int, ...] = ()
    upload_bytes: int = 0
    headers: tuple[tuple[str, str], ...] = ()


BODY: Steps = [["body"]]
OK = "HTTP/1.1 200 OK\r\n"
PLAIN = OK + "Content-Type: text/plain\r\n"
LENGTH = "Content-Length: 5\r\n\r\nhello"
CHUNKED = PLAIN + "Transfer-Encoding: chunked\r\n\r\n"
HELLO = "5\r\nhello\r\n"
LAST = "0\r\n\r\n"
REFUSED: tuple[Outcome, ...] = (Refused(),)
PASSED: tuple[Outcome, ...] = (Passed(),)
CUT: tuple[Outcome, ...] = (Cut(),)
REFUSED_OR_CUT: tuple[Outcome, ...] = (Refused(), Cut())
MANY = 400_000


def _says(name: str, text: str, *outcomes: Outcome, then: str = "close") -> Broken:
    """An upstream that reads the request, says this and does that."""
    return Broken(name, [*BODY, ["send", text], [then]], outcomes)


def _status_lines() -> Iterator[Broken]:
    tail = "\r\n" + LENGTH
    for status in (
        "000",
        "001",
        "010",
        "099",
        "99",
        "9",
        "1000",
        "20",
        "0200",
        "99999999999",
        "-20",
        "2xx",
        "",
        "+200",
    ):
        yield _says(f"status-{status or 'empty'}", f"HTTP/1.1 {status} What{tail}", *REFUSED, then="hang")
    for status in ("101", "104", "110", "150", "199"):
        yield _says(f"status-{status}-unasked", f"HTTP/1.1 {status} What{tail}", *REFUSED, then="hang")
        yield _says(
            f"status-{status}-then-answer",
            f"HTTP/1.1 {status} What\r\n\r\n{OK}{LENGTH}",
            *REFUSED,
            then="hang",
        )
    for status in ("200", "299", "418", "499", "500", "599"):
        yield Broken(
            f"status-{status}", [*BODY, ["send", f"HTTP/1.1 {status} What{tail}"]], (Passed(int(status)),)
        )
    for status in ("600", "999"):
        yield Broken(
            f"status-{status}",
            [*BODY, ["send", f"HTTP/1.1 {status} What{tail}"]],
            (Passed(int(status)), Refused()),
        )
    for name, line in {
        "no-reason": "HTTP/1.1 200",
        "empty-reason": "HTTP/1.1 200 ",
        "reason-not-ascii": "HTTP/1.1 200 caf\xe9",
    }.items():
        yield Broken(name, [*BODY, ["send", line + tail]], PASSED)
    for name, line in {
        "version-2": "HTTP/2 200 OK",
        "version-lower-case": "http/1.1 200 OK",
        "version-icy": "ICY 200 OK",
        "nul-in-version": "HTTP/1.1\0 200 OK",
        "bare-carriage-return-in-reason": "HTTP/1.1 200 OK\rX-Injected: yes",
    }.items():
        yield _says(name, line + tail, *REFUSED, then="hang")

    # What is odd in these does not reach the client.
    for name, line in {
        "version-0.9": "HTTP/0.9 200 OK",
        "version-2.0": "HTTP/2.0 200 OK",
        "nul-in-reason": "HTTP/1.1 200 O\0K",
    }.items():
        yield Broken(name, [*BODY, ["send", line + tail]], REFUSED + PASSED)


def _other_protocols() -> Iterator[Broken]:
    yield _says("http-0.9-answer", "<html>hello</html>\n", *REFUSED)
    yield _says(
        "http-2-settings", "\0\0\x12\4\0\0\0\0\0\0\3\0\0\0\x80\0\4\0\1\0\0\0\5\0\xff\xff\xff", *REFUSED
    )
    yield _says("http-2-preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", *REFUSED)
    yield _says("tls-alert", "\x15\3\1\0\2\2\x46", *REFUSED)
    yield _says("smtp-banner", "220 smtp ready\r\n", *REFUSED)
    yield _says("a-request", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", *REFUSED)
    yield _says("json-only", '{"hello": 1}', *REFUSED)


def _informational() -> Iterator[Broken]:
    ten = "HTTP/1.1 100 Continue\r\n\r\n" * 10
    yield Broken("ten-continues", [*BODY, ["send", ten + OK + LENGTH]], PASSED)
    hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    yield Broken("early-hints", [*BODY, ["send", hints + OK + LENGTH]], PASSED, informational=(103,))
    yield Broken(
        "processing",
        [*BODY, ["send", "HTTP/1.1 102 Processing\r\n\r\n" + OK + LENGTH]],
        PASSED,
        informational=(102,),
    )
    yield Broken("endless-continues", [*BODY, ["endless", "HTTP/1.1 100 Continue\r\n\r\n"]], REFUSED)
    yield Broken(
        "endless-continues-with-headers",
        [*BODY, ["endless", "HTTP/1.1 100 Continue\r\nA: b\r\n\r\n"]],
        REFUSED,
    )
    yield _says("continue-and-gone", "HTTP/1.1 100 Continue\r\n\r\n", *REFUSED)
    yield _says("early-hints-and-gone", hints, *REFUSED)  # informational answers may have gone out


def _heads() -> Iterator[Broken]:
    yield Broken("endless-reason", [*BODY, ["send", "HTTP/1.1 200 "], ["endless", "OK"]], REFUSED)
    yield Broken("endless-header", [*BODY, ["send", OK + "A: "], ["endless", "b"]], REFUSED)
    yield Broken("endless-header-name", [*BODY, ["send", OK], ["endless", "b"]], REFUSED)
    yield Broken("endless-headers", [*BODY, ["send", OK], ["endless", "A: b\r\n"]], REFUSED)
    yield Broken("endless-empty-lines", [*BODY, ["endless", "\r\n"]], REFUSED)
    for name, header in {
        "nul-in-header": "A: b\0c",
        "nul-in-header-name": "A\0: b",
        "bare-carriage-return-in-header": "A: b\rX-Injected: yes",
        "header-without-colon": "nothing",
        "empty-header-name": ": b",
        "space-in-header-name": "A B: c",
        "two-content-lengths": "Content-Length: 6",
        "content-length-negative": "Content-Length: -5",
        "content-length-letters": "Content-Length: five",
        "content-length-list": "Content-Length: 5, 6",
        "length-and-chunked": "Transfer-Encoding: chunked",
        "length-and-identity": "Transfer-Encoding: identity",
    }.items():
        yield _says(name, f"{PLAIN}{header}\r\n{LENGTH}", *REFUSED, then="hang")
    # RFC 9112 5.1 and 5.2: a proxy mends these or refuses them, but never passes them on.
    for name, header in {"space-before-colon": "A : b", "folded-header": "A: b\r\n c"}.items():
        yield _says(name, f"{PLAIN}{header}\r\n{LENGTH}", *REFUSED, *PASSED)
    for name, coding in {
        "xchunked": "xchunked",
        "gzip-chunked": "gzip, chunked",
        "chunked-gzip": "chunked, gzip",
    }.items():
        text = f"{PLAIN}Transfer-Encoding: {coding}\r\n\r\n{HELLO}{LAST}"
        yield _says(f"coding-{name}", text, *REFUSED)
    yield Broken("dribbled", [*BODY, ["dribble", PLAIN + LENGTH]], PASSED)
    yield Broken("dribbled-chunks", [*BODY, ["dribble", CHUNKED + HELLO + LAST]], PASSED)
    yield Broken(
        "hop-by-hop-headers",
        [*BODY, ["send", PLAIN + "Connection: A\r\nA: b\r\nUpgrade: h2c\r\n" + LENGTH]],
        PASSED,
    )


def _bodies() -> Iterator[Broken]:
    yield _says("length-too-long", f"{PLAIN}Content-Length: 9\r\n\r\nhello", *CUT)
    yield _says(
        "length-too-long-half-close", f"{PLAIN}Content-Length: 9\r\n\r\nhello", *CUT, then="half-close"
    )
    yield _says(
        "length-too-long-reset", f"{PLAIN}Content-Length: 9\r\n\r\nhello", *REFUSED_OR_CUT, then="reset"
    )
    yield _says("length-too-short", f"{PLAIN}Content-Length: 5\r\n\r\nhello, world", *PASSED, then="hang")
    yield _says("head-only", PLAIN + "Content-Length: 5\r\n\r\n", *REFUSED, Cut(beginning=b""))
    yield _says("half-a-head", PLAIN, *REFUSED)
    yield _says("half-a-status-line", "HTTP/1.1 20", *REFUSED)
    yield Broken("nothing", [*BODY, ["close"]], REFUSED)
    yield Broken("nothing-half-close", [*BODY, ["half-close"], ["hang"]], REFUSED)
    yield Broken("nothing-reset", [*BODY, ["reset"]], REFUSED)
    yield Broken("nothing-and-unread-body", [["close"]], REFUSED)
    yield _says("until-close", PLAIN + "\r\nhello", *PASSED)
    yield _says("until-half-close", PLAIN + "\r\nhello", *PASSED, then="half-close")
    yield _says("until-reset", PLAIN + "\r\nhello", *REFUSED_OR_CUT, then="reset")
    yield _says("http-1.0", "HTTP/1.0 200 OK\r\n\r\nhello", *PASSED)
    yield Broken(
        "http-1.0-keep-alive",
        [*BODY, ["send", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + LENGTH]],
        PASSED,
    )
    yield _says("answer-then-close", PLAIN + LENGTH, *PASSED)
    yield _says("answer-then-half-close", PLAIN + LENGTH, *PASSED, then="half-close")
    yield _says("answer-then-reset", PLAIN + LENGTH, *PASSED, Refused(), Cut(), then="reset")
    yield _says(
        "connection-close-and-not-closed", PLAIN + "Connection: close\r\n" + LENGTH, *PASSED, then="hang"
    )
    for status in (204, 304):
        text = f"HTTP/1.1 {status} No\r\n{LENGTH}"
        yield _says(f"body-with-{status}", text, Passed(status, b""), then="hang")
        yield _says(
            f"chunks-with-{status}",
            f"HTTP/1.1 {status} No\r\nTransfer-Encoding: chunked\r\n\r\n{HELLO}{LAST}",
            Passed(status, b""),
            *REFUSED,
            then="hang",
        )
    yield Broken("body-with-head", [*BODY, ["send", PLAIN + LENGTH], ["hang"]], (Passed(200, b""),), "HEAD")
    yield Broken(
        "chunks-with-head", [*BODY, ["send", CHUNKED + HELLO + LAST], ["hang"]], (Passed(200, b""),), "HEAD"
    )
    for name, more in {
        "two-answers": PLAIN + "Content-Length: 6\r\n\r\npoison",
        "garbage-behind": "\0\0\0 garbage",
        "letters-behind": "garbage",
        "line-ends-behind": "\r\n\r\n",
        "error-behind": "HTTP/1.1 500 Oh\r\nContent-Length: 6\r\n\r\npoison",
        "continue-behind": "HTTP/1.1 100 Continue\r\n\r\n",
    }.items():
        yield Broken(name, [*BODY, ["send", PLAIN + LENGTH + more]], PASSED)
        yield Broken(f"{name}-later", [*BODY, ["send", PLAIN + LENGTH], ["dribble", more]], PASSED)
        yield Broken(f"{name}-chunks", [*BODY, ["send", CHUNKED + HELLO + LAST + more]], PASSED)


def _chunks() -> Iterator[Broken]:
    for name, text in {
        "size-letters": "zz\r\nhello\r\n",
        "size-negative": "-5\r\nhello\r\n",
        "size-prefixed": "0x5\r\nhello\r\n",
        "size-empty": "\r\nhello\r\n",
        "size-overflow": "10000000000000005\r\nhello\r\n",
        "size-bare-line-feed": "5\nhello\r\n",
        "end-bare-line-feed": "5\r\nhello\n" + LAST,
        "beyond": "5\r\nhello!!\r\n" + LAST,
        "not-at-all": "hello",
    }.items():
        yield _says(f"chunk-{name}-first", CHUNKED + text, *REFUSED_OR_CUT, then="hang")
        yield _says(
            f"chunk-{name}-second",
            CHUNKED + HELLO + text,
            *REFUSED_OR_CUT,
            Cut(beginning=b"hellohello"),
            then="hang",
        )
    for name, text in {
        "no-last": HELLO,
        "half": "9\r\nhello",
        "half-size": HELLO + "1",
        "half-last": HELLO + "0\r\n",
        "half-trailer": HELLO + "0\r\nA: b",
    }.items():
        for then in ("close", "half-close", "reset"):
            yield _says(f"chunk-{name}-{then}", CHUNKED + text, *REFUSED_OR_CUT, then=then)
    for name, trailer in {"no-colon": "nothing\r\n", "nul": "A: \0\r\n"}.items():
        yield _says(
            f"trailer-{name}", CHUNKED + HELLO + "0\r\n" + trailer + "\r\n", *REFUSED_OR_CUT, then="hang"
        )
    good = "0\r\nX-Injected: yes\r\nConnection: close\r\n\r\n"
    # RFC 9110 6.5.1: framing has no place in a trailer; refused or dropped, it changes nothing.
    framing = CHUNKED + HELLO + "0\r\nContent-Length: 3\r\n\r\n"
    yield Broken("trailer-content-length", [*BODY, ["send", framing]], REFUSED_OR_CUT + PASSED)
    yield Broken("trailers", [*BODY, ["send", CHUNKED + HELLO + good]], PASSED)
    yield Broken(
        "endless-trailers",
        [*BODY, ["send", CHUNKED + HELLO + "0\r\n"], ["endless", "A: b\r\n"]],
        REFUSED_OR_CUT,
    )
    yield Broken(
        "endless-trailer", [*BODY, ["send", CHUNKED + HELLO + "0\r\nA: "], ["endless", "b"]], REFUSED_OR_CUT
    )
    yield Broken(
        "chunk-of-each-byte",
        [*BODY, ["send", CHUNKED + "1\r\nx\r\n", 1], ["send", "1\r\nx\r\n", 50_000], ["send", LAST]],
        (Passed(body=b"x" * 50_001),),
    )


def _encodings() -> Iterator[Broken]:
    packed = gzip.compress(b"hello", mtime=0).decode("latin-1")
    for name, encoding, body in (
        ("plain-called-gzip", "gzip", "hello"),
        ("half-a-gzip", "gzip", packed[:-6]),
        ("gzip-twice", "gzip, gzip", packed),
        ("plain-called-zstd", "zstd", "hello"),
        ("plain-called-nonsense", "nonsense", "hello"),
        ("gzip-then-garbage", "gzip", packed + "garbage"),
        ("bomb", "gzip", gzip.compress(bytes(10_000_000), mtime=0).decode("latin-1")),
    ):  # fmt: skip
        head = f"{OK}Content-Type: application/json\r\nContent-Encoding: {encoding}\r\n"
        text = f"{head}Content-Length: {len(body)}\r\n\r\n{body}"
        yield Broken(f"encoding-{name}", [*BODY, ["send", text]], (Passed(body=body.encode("latin-1")),))
    for name, body in {
        "json-cut": '{"usage": {"prompt_tok',
        "json-of-brackets": "[" * 100_000,
        "json-usage-nonsense": '{"usage": {"prompt_tokens": "many", "completion_tokens": -1e999}}',
        "not-utf-8": '{"usage": "\xff\xfe"}',
    }.items():
        text = f"{OK}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        yield Broken(name, [*BODY, ["send", text]], (Passed(body=body.encode("latin-1")),))


EVENT = 'data: {"n": 1}\n\n'


def _streams() -> Iterator[Broken]:
    head = OK + "Content-Type: text/event-stream\r\n"
    for name, said in {
        "between-events": EVENT,
        "in-an-event": EVENT + 'data: {"n"',
        "in-a-line-end": EVENT + 'data: {"n": 2}\n',
        "in-the-first-event": 'data: {"n"',
        "in-a-comment": EVENT + ": nothing",
    }.items():
        chunks = f"{head}Transfer-Encoding: chunked\r\n\r\n{len(said):x}\r\n{said}\r\n"
        for then in ("close", "reset"):
            yield _says(f"stream-cut-{name}-{then}", chunks, StreamCut(said.encode()), Refused(), then=then)
        long = f"{head}Content-Length: {len(said) + 9}\r\n\r\n{said}"
        # Our event does not fit into the length that was promised.
        yield _says(f"stream-short-{name}", long, StreamCut(said.encode()), Cut(beginning=said.encode()))
        yield _says(
            f"stream-bad-chunk-{name}", chunks + "zz\r\n", StreamCut(said.encode()), Refused(), then="hang"
        )
    yield _says(
        "stream-without-an-event", head + "Transfer-Encoding: chunked\r\n\r\n", StreamCut(b""), Refused()
    )
    yield _says("stream-until-close", head + "\r\n" + EVENT, Passed(body=EVENT.encode()))
    text = f"{head}Transfer-Encoding: chunked\r\n\r\n{len(EVENT):x}\r\n{EVENT}\r\n0\r\n"
    yield Broken(
        "stream-endless-trailers",
        [*BODY, ["send", text], ["endless", "A: b\r\n"]],
        (StreamCut(EVENT.encode()), Refused()),
    )
    odd = "data\n\ndata:\n\nevent\n\n\n\n:\n\nretry: -1\n\nid: \0\n\n\xef\xbb\xbfdata: x\n\n"
    yield _says("stream-of-odd-lines", head + "\r\n" + odd, Passed(body=odd.encode("latin-1")))


def _early() -> Iterator[Broken]:
    refusal = "HTTP/1.1 413 Too Large\r\nConnection: close\r\n" + LENGTH
    large = 4_000_000
    yield Broken("answer-before-the-body", [["send", refusal], ["hang"]], (Passed(413),), upload_bytes=large)
    yield Broken(
        "answer-before-the-body-then-close",
        [["send", refusal], ["close"]],
        (Passed(413), Refused()),
        upload_bytes=large,
    )
    yield Broken(
        "answer-before-the-body-kept", [["send", PLAIN + LENGTH], ["body"]], PASSED, upload_bytes=large
    )
    yield Broken("close-before-the-body", [["close"]], REFUSED, upload_bytes=large)
    yield Broken("reset-before-the-body", [["reset"]], REFUSED, upload_bytes=large)
    yield Broken("half-close-before-the-body", [["half-close"], ["hang"]], REFUSED, upload_bytes=large)
    yield Broken("answer-half-way", [["send", PLAIN], ["body"], ["send", LENGTH]], PASSED, upload_bytes=large)


WEBSOCKET = (("Upgrade", "websocket"), ("Connection", "Upgrade"))


def _switches() -> Iterator[Broken]:
    switch = "HTTP/1.1 101 Switching Protocols\r\n"
    for name, text in {
        "without-upgrade": switch + "\r\n",
        "to-h2c": switch + "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        "with-length": switch + "Connection: Upgrade\r\nUpgrade: websocket\r\n" + LENGTH,
        "half": switch + "Connection: Upgrade\r\nUpgrade: websocket\r\n",
    }.items():
        yield Broken(f"switch-{name}", [["send", text], ["close"]], REFUSED, "GET", headers=WEBSOCKET)
    yield Broken(
        "switch-refused", [["send", "HTTP/1.1 400 No\r\n" + LENGTH]], (Passed(400),), "GET", headers=WEBSOCKET
    )


BROKEN: tuple[Broken, ...] = (
    *_status_lines(),
    *_other_protocols(),
    *_informational(),
    *_heads(),
    *_bodies(),
    *_chunks(),
    *_encodings(),
    *_streams(),
    *_early(),
    *_switches(),
)

HANGING: tuple[Broken, ...] = tuple(
    Broken(
        f"hangs-{name}",
        [*BODY, *([["send", text]] if text else []), ["hang"]],
        (Refused(504, "gateway_timeout"),),
    )
    for name, text in {
        "at-once": "",
        "in-the-status-line": "HTTP/1.1 20",
        "in-the-head": PLAIN + "A: b",
        "after-continue": "HTTP/1.1 100 Continue\r\n\r\n",
    }.items()
)
"""For a model whose answers have to begin in time."""
