"""Raw requests that no library sends, each with what has to become of it.

Sources: RFC 9110 and RFC 9112, to the sections named beside the rows; the collections of attacks of
https://portswigger.net/research/http-desync-attacks-request-smuggling-reborn and
https://github.com/narfindustries/http-garden.  Where a specification leaves a choice the row lists them all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum, auto


class Then(Enum):
    """What the client finds when it goes on with the same connection."""

    USABLE = auto()
    CLOSED = auto()
    EITHER = auto()


class Ends(Enum):
    """How the client behaves once it has sent everything."""

    STAYS = auto()
    HALF_CLOSES = auto()
    LEAVES = auto()


@dataclass(frozen=True)
class Attack:
    """Bytes on a connection of their own.

    `answers`: one entry for each answer, with the statuses it may have; a status of 0 stands for a
    connection that is closed without an answer.  `reached`: the bodies of the requests that the model gets.
    """

    name: str
    sent: bytes
    answers: tuple[tuple[int, ...], ...]
    then: Then = Then.CLOSED
    reached: tuple[bytes, ...] = ()
    method: str = "GET"
    ends: Ends = Ends.STAYS

    @property
    def is_refusal(self) -> bool:
        """Whether it is one request that is refused and ends its connection."""
        return (
            len(self.answers) == 1
            and all(status >= 400 or not status for status in self.answers[0])
            and self.then is Then.CLOSED
            and self.ends is Ends.STAYS
        )


HOST = b"Host: yard\r\n"
BODY = json.dumps({"model": "echo", "messages": []}).encode()
REFUSED = ((400,),)
TOO_LONG = ((431,),)
MIB = 1024 * 1024

CHAT = b"POST /v1/chat/completions HTTP/1.1\r\nHost: yard\r\nContent-Type: application/json\r\n"
PASSED = b"POST /upstream/echo/x HTTP/1.1\r\nHost: yard\r\nContent-Type: application/json\r\n"
CONTROL = b"PUT /api/profiles/active HTTP/1.1\r\nHost: yard\r\n"
DOORS = {"chat": CHAT, "upstream": PASSED, "control": CONTROL}
"""A body that is gathered, one that is passed on as it comes, and one that no model gets."""


def chunk(data: bytes, extension: bytes = b"") -> bytes:
    return b"%x%b\r\n%b\r\n" % (len(data), extension, data)


CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
HELLO = chunk(BODY)
LAST = b"0\r\n\r\n"

# RFC 9112 6 and 7.
BAD_FRAMING: dict[str, bytes] = {
    "two-content-lengths": b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "two-equal-content-lengths": b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "content-length-list": b"Content-Length: 5, 5\r\n\r\nhello",
    "content-length-plus": b"Content-Length: +5\r\n\r\nhello",
    "content-length-negative": b"Content-Length: -5\r\n\r\nhello",
    "content-length-hexadecimal": b"Content-Length: 0x5\r\n\r\nhello",
    "content-length-letters": b"Content-Length: five\r\n\r\nhello",
    "content-length-empty": b"Content-Length:\r\n\r\nhello",
    "content-length-inner-space": b"Content-Length: 5 5\r\n\r\nhello",
    "content-length-overflow": b"Content-Length: 18446744073709551621\r\n\r\nhello",
    "content-length-thousand-digits": b"Content-Length: " + b"9" * 1000 + b"\r\n\r\nhello",
    "content-length-and-chunked": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + HELLO + LAST,
    "chunked-and-content-length": b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + HELLO + LAST,
    "coding-xchunked": b"Transfer-Encoding: xchunked\r\n\r\n" + HELLO + LAST,
    "coding-chunkedx": b"Transfer-Encoding: chunkedx\r\n\r\n" + HELLO + LAST,
    "coding-identity": b"Transfer-Encoding: identity\r\n\r\n" + HELLO + LAST,
    "coding-chunked-then-gzip": b"Transfer-Encoding: chunked, gzip\r\n\r\n" + HELLO + LAST,
    "coding-chunked-twice": b"Transfer-Encoding: chunked, chunked\r\n\r\n" + HELLO + LAST,
    "coding-empty": b"Transfer-Encoding:\r\n\r\n" + HELLO + LAST,
    "coding-space-before-colon": b"Transfer-Encoding : chunked\r\n\r\n" + HELLO + LAST,
    "coding-in-quotes": b'Transfer-Encoding: "chunked"\r\n\r\n' + HELLO + LAST,
    "coding-vertical-tab": b"Transfer-Encoding: \x0bchunked\r\n\r\n" + HELLO + LAST,
    "chunk-size-letters": CHUNKED + b"zz\r\nhello\r\n" + LAST,
    "chunk-size-negative": CHUNKED + b"-5\r\nhello\r\n" + LAST,
    "chunk-size-plus": CHUNKED + b"+5\r\nhello\r\n" + LAST,
    "chunk-size-prefixed": CHUNKED + b"0x5\r\nhello\r\n" + LAST,
    "chunk-size-empty": CHUNKED + b"\r\nhello\r\n" + LAST,
    "chunk-size-space-before": CHUNKED + b" 5\r\nhello\r\n" + LAST,
    "chunk-size-overflow": CHUNKED + b"10000000000000005\r\nhello\r\n" + LAST,
    "chunk-size-semicolon-only": CHUNKED + b";\r\nhello\r\n" + LAST,
    "chunk-size-then-text": CHUNKED + b"5 x\r\nhello\r\n" + LAST,
    "bare-line-feed-after-chunk-size": CHUNKED + b"5\nhello\r\n" + LAST,
    "bare-line-feed-after-chunk": CHUNKED + b"5\r\nhello\n" + LAST,
    "bare-line-feed-in-chunk-extension": CHUNKED + b"5;a\nb\r\nhello\r\n" + LAST,
    "bare-line-feed-after-last-chunk": CHUNKED + HELLO + b"0\n\r\n",
    "bare-carriage-return-after-chunk-size": CHUNKED + b"5\rhello\r\n" + LAST,
    "data-beyond-its-chunk": CHUNKED + b"5\r\nhello!!\r\n" + LAST,
    "second-chunk-bad": CHUNKED + HELLO + b"hello\r\n" + LAST,
    "nul-in-chunk-extension": CHUNKED + b"5;a=\0\r\nhello\r\n" + LAST,
    "trailer-without-colon": CHUNKED + HELLO + b"0\r\nno colon here\r\n\r\n",
    "trailer-with-nul": CHUNKED + HELLO + b"0\r\na: \0\r\n\r\n",
    "trailer-with-space-before-colon": CHUNKED + HELLO + b"0\r\na : b\r\n\r\n",
    "trailer-folded": CHUNKED + HELLO + b"0\r\na: b\r\n c\r\n\r\n",
    "trailer-with-empty-name": CHUNKED + HELLO + b"0\r\n: b\r\n\r\n",
}

# RFC 9112 2.2 to 5.
BAD_HEADS: dict[str, bytes] = {
    "empty-header-name": HOST + b": nothing\r\n",
    "folded-header": HOST + b"X-A: b\r\n c\r\n",
    "folded-first-header": b" x\r\n" + HOST,
    "space-before-colon": HOST + b"X-A : b\r\n",
    "space-in-name": HOST + b"X A: b\r\n",
    "header-without-colon": HOST + b"no colon here\r\n",
    "nul-in-value": HOST + b"X-A: b\0c\r\n",
    "nul-in-name": HOST + b"X\0A: b\r\n",
    "bare-carriage-return-in-value": HOST + b"X-A: b\rc\r\n",
    "carriage-return-and-header-in-value": HOST + b"X-A: b\rContent-Length: 5\r\n",
    "control-in-name": HOST + b"X\x01A: b\r\n",
    "quote-in-name": HOST + b'X"A: b\r\n',
    "bracket-in-name": HOST + b"X(A: b\r\n",
    "not-ascii-in-name": HOST + b"X\xe9A: b\r\n",
    "no-host": b"X-A: b\r\n",
    "no-header-at-all": b"",
    "two-hosts": HOST + b"Host: other\r\n",
    "two-equal-hosts": HOST + HOST,
}

# RFC 9112 3 and RFC 9110 9.
BAD_FIRST_LINES: dict[str, bytes] = {
    "lower-case-method": b"get /health HTTP/1.1",
    "unknown-method": b"BREW /health HTTP/1.1",
    "method-with-bracket": b"GE[T /health HTTP/1.1",
    "empty-method": b" /health HTTP/1.1",
    "endless-method": b"G" * 100_000 + b" /health HTTP/1.1",
    "no-target": b"GET HTTP/1.1",
    "empty-target": b"GET  HTTP/1.1",
    "space-in-target": b"GET /hea lth HTTP/1.1",
    "nul-in-target": b"GET /hea\0lth HTTP/1.1",
    "control-in-target": b"GET /hea\x01lth HTTP/1.1",
    "tab-for-space": b"GET\t/health\tHTTP/1.1",
    "version-1.2": b"GET /health HTTP/1.2",
    "version-3.0": b"GET /health HTTP/3.0",
    "version-9.9": b"GET /health HTTP/9.9",
    "version-without-minor": b"GET /health HTTP/1",
    "version-with-text": b"GET /health HTTP/1.1x",
    "version-lower-case": b"GET /health http/1.1",
    "other-protocol": b"GET /health SIP/2.0",
    "bare-carriage-return-at-its-end": b"GET /health HTTP/1.1\rX-A: b",
}

CLIENT_HELLO = bytes.fromhex(
    "1603010200010001fc0303a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90"
    "20000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f0024130213031301"
)


def _bad() -> Iterator[Attack]:
    for door, head in DOORS.items():
        for name, sent in BAD_FRAMING.items():
            yield Attack(f"{name}-{door}", head + sent, REFUSED)
    yield Attack(
        "coding-gzip-then-chunked",
        PASSED + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + HELLO + LAST,
        ((400, 501),),
    )
    for name, sent in BAD_HEADS.items():
        yield Attack(name, b"GET /health HTTP/1.1\r\n" + sent + b"\r\n", REFUSED)
    for name, sent in BAD_FIRST_LINES.items():
        yield Attack(name, sent + b"\r\n" + HOST + b"\r\n", ((400, 501, 505),))
    # RFC 9112 3 lets a recipient take several spaces for one, and an appendix of RFC 1945 asks for HTTP/0.9.
    yield Attack(
        "two-spaces-before-version",
        b"GET /health  HTTP/1.1\r\n" + HOST + b"\r\n",
        ((200, 400),),
        Then.EITHER,
    )
    yield Attack("http-0.9", b"GET /health\r\n\r\n", ((200, 400, 505),))
    yield Attack("http-2-preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", ((400, 505),))
    yield Attack("client-hello", CLIENT_HELLO, ((400, 0),))
    yield Attack(
        "connect-authority", b"CONNECT yard:80 HTTP/1.1\r\n" + HOST + b"\r\n", ((400, 404, 405, 501),)
    )
    yield Attack("connect-path", b"CONNECT /health HTTP/1.1\r\n" + HOST + b"\r\n", ((400, 404, 405, 501),))


def _too_long() -> Iterator[Attack]:
    yield Attack(
        "long-target", b"GET /" + b"a" * (MIB + 1) + b" HTTP/1.1\r\n" + HOST + b"\r\n", ((414, 431),)
    )
    yield Attack("endless-target", b"GET /" + b"a" * (2 * MIB), ((414, 431),))
    yield Attack(
        "long-header",
        b"GET /health HTTP/1.1\r\n" + HOST + b"X-A: " + b"a" * (MIB + 1) + b"\r\n\r\n",
        TOO_LONG,
    )
    yield Attack("endless-header", b"GET /health HTTP/1.1\r\n" + HOST + b"X-A: " + b"a" * (2 * MIB), TOO_LONG)
    yield Attack("endless-header-name", b"GET /health HTTP/1.1\r\n" + HOST + b"a" * (2 * MIB), TOO_LONG)
    yield Attack("endless-headers", b"GET /health HTTP/1.1\r\n" + HOST + b"a: b\r\n" * 400_000, TOO_LONG)
    for door, head in DOORS.items():
        yield Attack(
            f"endless-trailers-{door}", head + CHUNKED + HELLO + b"0\r\n" + b"a: b\r\n" * 400_000, TOO_LONG
        )
        yield Attack(
            f"endless-trailer-{door}", head + CHUNKED + HELLO + b"0\r\na: " + b"b" * (2 * MIB), TOO_LONG
        )


def _to_model(name: str, sent: bytes, body: bytes = BODY, method: str = "POST") -> Attack:
    """A request that may look odd and is none of our business: the model gets it whole."""
    return Attack(name, sent, ((200,),), Then.USABLE, (body,), method)


def _odd_but_good() -> Iterator[Attack]:
    length = b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
    for door in ("chat", "upstream"):
        head = DOORS[door]
        yield _to_model(f"chunk-extension-{door}", head + CHUNKED + chunk(BODY, b';a="b c";d') + LAST)
        yield _to_model(f"chunk-size-leading-zeros-{door}", head + CHUNKED + b"0000" + HELLO + b"000\r\n\r\n")
        yield _to_model(
            f"chunk-of-each-byte-{door}", head + CHUNKED + b"".join(chunk(bytes([b])) for b in BODY) + LAST
        )
        yield _to_model(
            f"coding-upper-case-{door}", head + b"TRANSFER-ENCODING:CHUNKED\r\n\r\n" + HELLO + LAST
        )
        yield _to_model(f"h2c-{door}", head + UPGRADE_H2C + length)
        yield _to_model(f"h2c-chunked-{door}", head + UPGRADE_H2C + CHUNKED + HELLO + LAST)
        yield _to_model(
            f"upgrade-to-tls-{door}", head + b"Upgrade: TLS/1.2\r\nConnection: Upgrade\r\n" + length
        )
        yield _to_model(f"upgrade-not-in-connection-{door}", head + b"Upgrade: h2c\r\n" + length)
        yield _to_model(f"empty-line-before-{door}", b"\r\n" + head + length)
        yield _to_model(f"space-around-value-{door}", head + b"X-A: \t b \t \r\n" + length)
        yield _to_model(f"many-headers-{door}", head + b"X-A: b\r\n" * 1000 + length)
        trailers = b"0\r\nX-Late: yes\r\nConnection: close\r\nHost: other\r\n\r\n"
        yield _to_model(f"trailers-{door}", head + CHUNKED + HELLO + trailers)
        # RFC 9110 6.5.1: framing has no place in a trailer; refused or dropped, it changes nothing.
        yield replace(
            _to_model(
                f"trailer-content-length-{door}", head + CHUNKED + HELLO + b"0\r\nContent-Length: 3\r\n\r\n"
            ),
            answers=((200, 400),),
            then=Then.EITHER,
        )
        # RFC 9110 10.1.1: an expectation that we do not know may be refused; it is no fault of the framing.
        yield replace(
            _to_model(f"expect-something-{door}", head + b"Expect: miracles\r\n" + length),
            answers=((200, 417),),
            then=Then.EITHER,
        )
        yield replace(
            _to_model(
                f"chunk-extension-of-1-mb-{door}", head + CHUNKED + chunk(BODY, b";a=" + b"b" * MIB) + LAST
            ),
            answers=((200, 400, 413, 431),),
            then=Then.EITHER,
        )
    for method in ("GET", "DELETE", "PUT", "PATCH", "OPTIONS"):
        sent = f"{method} /upstream/echo/x HTTP/1.1\r\n".encode() + HOST + length
        if method != "OPTIONS":  # that is a preflight, which we answer
            yield _to_model(f"body-with-{method}", sent, method=method)
        else:
            yield Attack("body-with-OPTIONS", sent, ((204,),), Then.USABLE)
    yield _to_model("body-with-HEAD", b"HEAD /upstream/echo/x HTTP/1.1\r\n" + HOST + length, method="HEAD")
    yield Attack("body-with-GET-health", b"GET /health HTTP/1.1\r\n" + HOST + length, ((200,),), Then.EITHER)
    yield Attack(
        "chunked-body-with-GET-health",
        b"GET /health HTTP/1.1\r\n" + HOST + CHUNKED + HELLO + LAST,
        ((200,),),
        Then.EITHER,
    )
    yield _to_model("post-without-length", b"POST /upstream/echo/x HTTP/1.1\r\n" + HOST + b"\r\n", b"")
    yield _to_model("zero-length-chunks-only", PASSED + CHUNKED + LAST, b"")


UPGRADE_H2C = (
    b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
)


def _get(
    name: str, target: bytes, *statuses: int, then: Then = Then.USABLE, reached: tuple[bytes, ...] = ()
) -> Attack:
    return Attack(name, b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n", (statuses,), then, reached)


def _targets() -> Iterator[Attack]:
    to_model = (b"",)
    yield _get("absolute-form", b"http://yard/health", 200)
    yield _get("absolute-form-other-port", b"http://yard:1/health", 200)
    yield _get("absolute-form-without-path", b"http://yard", 200, 301, 302, 307, 404, then=Then.EITHER)
    yield _get("absolute-form-https", b"https://yard/health", 200, 400, then=Then.EITHER)
    yield _get("authority-form", b"yard:80", 400, then=Then.CLOSED)
    yield _get("asterisk-with-get", b"*", 307, 400, 404, then=Then.EITHER)
    yield Attack(
        "asterisk-with-options", b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", ((200, 204),), Then.USABLE
    )
    yield Attack("trace", b"TRACE /health HTTP/1.1\r\n" + HOST + b"\r\n", ((404, 405, 501),), Then.EITHER)
    yield Attack("delete-health", b"DELETE /health HTTP/1.1\r\n" + HOST + b"\r\n", ((404, 405),), Then.USABLE)
    yield _get("fragment", b"/health#there", 200, 400, then=Then.EITHER)
    yield _get("empty-query", b"/health?", 200)
    yield _get("query-of-nothing-but-ampersands", b"/health?" + b"&" * 100_000, 414)
    yield _get("percent-nul", b"/upstream/echo/%00", 200, reached=to_model)
    yield _get("percent-ff", b"/upstream/echo/%ff", 200, reached=to_model)
    yield _get("percent-nothing", b"/upstream/echo/%", 200, reached=to_model)
    yield _get("percent-no-digits", b"/upstream/echo/%zz", 200, reached=to_model)
    yield _get("percent-line-end", b"/upstream/echo/a%0d%0aX-Injected:%20yes", 200, reached=to_model)
    yield _get("percent-dots", b"/upstream/echo/%2e%2e/%2e%2e/health", 200, 307, reached=to_model)
    yield _get("percent-slash", b"/upstream/echo%2fx", 307, 404, 200, reached=to_model)
    yield _get("percent-model-nul", b"/upstream/%00/x", 404)
    yield _get("percent-model-ff", b"/upstream/%ff/x", 404)
    yield _get("model-of-line-ends", b"/upstream/%0d%0aX-Injected:%20yes/x", 404)
    yield _get("health-with-encoded-letter", b"/%68ealth", 200, 404)
    yield _get("health-with-nul", b"/health%00", 404)
    yield _get("dot-segments", b"/a/../health", 307)
    yield _get("dot-segments-beyond-the-root", b"/../../../etc/passwd", 307)
    yield _get("dot-segments-out-of-upstream", b"/upstream/echo/../../health", 307)
    yield _get("two-slashes", b"//health", 307)
    yield _get("two-slashes-and-a-host", b"//evil.example/%2f..", 307, 400, 404)
    yield _get("backslashes", b"/\\evil.example\\", 404)
    yield _get("not-ascii", b"/caf\xc3\xa9", 404, 400, then=Then.EITHER)
    yield _get("not-utf-8", b"/caf\xe9", 404, 400, then=Then.EITHER)
    yield _get("semicolon", b"/health;a=b", 404)
    yield _get("slashes-of-2-kb", b"/upstream/" + b"a/" * 1000, 404)
    yield _get("percent-signs", b"/" + b"%25" * 100_000, 414)
    yield _get("long-without-slashes", b"/" + b"a" * 500_000, 414)
    yield _get("long-query", b"/v1/models?" + b"a=b&" * 50_000, 414)


def _old_and_leaving() -> Iterator[Attack]:
    health = b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n"
    whole = CHAT + b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
    yield Attack("http-1.0", b"GET /health HTTP/1.0\r\n\r\n", ((200,),))
    yield Attack(
        "http-1.0-keep-alive",
        b"GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        ((200,),),
        Then.EITHER,
    )
    yield Attack(
        "http-1.0-chunked",
        b"POST /upstream/echo/x HTTP/1.0\r\n" + CHUNKED + LAST,
        ((200, 400),),
        Then.EITHER,
        (b"",),
    )
    yield Attack(
        "connection-close", b"GET /health HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n", ((200,),)
    )
    yield Attack(
        "websocket-to-health",
        b"GET /health HTTP/1.1\r\n" + HOST + b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        ((200,),),
        Then.EITHER,
    )
    yield Attack(
        "websocket-without-key",
        b"GET /upstream/echo/x HTTP/1.1\r\n" + HOST + b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        ((200, 400),), Then.EITHER, (b"",),
    )  # fmt: skip
    yield Attack("nothing-then-half-close", b"", (), ends=Ends.HALF_CLOSES)
    yield Attack("half-a-first-line-then-half-close", b"GET /hea", ((400, 0),), ends=Ends.HALF_CLOSES)
    yield Attack(
        "half-a-head-then-half-close", b"GET /health HTTP/1.1\r\nHo", ((400, 0),), ends=Ends.HALF_CLOSES
    )
    yield Attack("half-a-body-then-half-close", whole[:-5], ((400, 0),), ends=Ends.HALF_CLOSES)
    yield Attack(
        "half-a-chunk-then-half-close", PASSED + CHUNKED + HELLO[:-5], ((400, 0),), ends=Ends.HALF_CLOSES
    )
    yield Attack(
        "no-last-chunk-then-half-close", PASSED + CHUNKED + HELLO, ((400, 0),), ends=Ends.HALF_CLOSES
    )
    yield Attack("request-then-half-close", health, ((200, 0),), ends=Ends.HALF_CLOSES)
    yield Attack("half-a-first-line-then-gone", b"GET /hea", (), ends=Ends.LEAVES)
    yield Attack("half-a-head-then-gone", b"GET /health HTTP/1.1\r\nHo", (), ends=Ends.LEAVES)
    yield Attack("half-a-body-then-gone", whole[:-5], (), ends=Ends.LEAVES)
    yield Attack("half-a-chunk-then-gone", PASSED + CHUNKED + HELLO[:-5], (), ends=Ends.LEAVES)
    yield Attack("bad-chunk-then-gone", PASSED + CHUNKED + b"zz\r\n", (), ends=Ends.LEAVES)


def _pipelined() -> Iterator[Attack]:
    health = b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n"
    no_host = b"GET /health HTTP/1.1\r\n\r\n"
    other = BODY.replace(b"[]", b"[1]")
    first, second = (CHAT + b"Content-Length: %d\r\n\r\n%b" % (len(body), body) for body in (BODY, other))
    bad = PASSED + CHUNKED + b"3\r\nBAD\r\nzz\r\n"
    ok, refused = (200,), (400,)
    yield Attack("pipeline-of-health", health * 8, (ok,) * 8, Then.USABLE)
    yield Attack("pipeline-of-300", health * 300, (ok,) * 300, Then.USABLE)
    yield Attack("pipeline-of-bodies", first + second, (ok, ok), Then.USABLE, (BODY, other))
    yield Attack("pipeline-body-then-health", first + health, (ok, ok), Then.USABLE, (BODY,))
    yield Attack("pipeline-valid-then-no-host", health + no_host, (ok, refused))
    yield Attack("pipeline-body-then-no-host", first + no_host, (ok, refused), reached=(BODY,))
    yield Attack("pipeline-valid-then-garbage", health + b"\x16\x03\x01\r\n\r\n", (ok, refused))
    yield Attack("pipeline-body-then-bad-body", first + bad, (ok, refused), reached=(BODY,))
    yield Attack(
        "pipeline-body-then-refused-body",
        first + second.replace(b"Host: yard\r\n", b""),
        (ok, refused),
        reached=(BODY,),
    )
    yield Attack("pipeline-refused-then-body", no_host + second, (refused,))
    yield Attack("pipeline-bad-body-then-body", bad + second, (refused,))
    yield Attack(
        "pipeline-h2c-then-body",
        CHAT + UPGRADE_H2C + first.removeprefix(CHAT) + second,
        (ok, ok),
        Then.USABLE,
        (BODY, other),
    )
    yield Attack(
        "pipeline-close-then-body", health.replace(HOST, HOST + b"Connection: close\r\n") + second, (ok,)
    )
    yield Attack("pipeline-http-1.0-then-body", b"GET /health HTTP/1.0\r\n\r\n" + second, (ok,))
    yield Attack(
        "pipeline-connect-then-body",
        b"CONNECT yard:80 HTTP/1.1\r\n" + HOST + b"\r\n" + second,
        ((400, 404, 405, 501),),
    )
    yield Attack(
        "pipeline-too-long-then-body",
        b"GET /health HTTP/1.1\r\n" + HOST + b"X-A: " + b"a" * (MIB + 1) + b"\r\n\r\n" + second,
        TOO_LONG,
    )


ATTACKS: tuple[Attack, ...] = (
    *_bad(),
    *_too_long(),
    *_odd_but_good(),
    *_targets(),
    *_old_and_leaving(),
    *_pipelined(),
)
