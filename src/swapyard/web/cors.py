"""What browsers ask: preflights are answered for everybody, other sites stay out of the control plane."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from swapyard.errors import Fault, RequestError

Headers = list[tuple[bytes, bytes]]

_TOKEN = re.compile(rb"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")

LONGEST_ASKED_BYTES = 8 * 1024
"""Longest list of headers that a preflight may ask for; for a longer one the answer is as for none."""


def preflight(request_headers: Sequence[tuple[bytes, bytes]]) -> Headers:
    """Headers of the 204 that answers any OPTIONS request."""
    asked = next((value for name, value in request_headers if name == b"access-control-request-headers"), b"")
    allowed = b"Content-Type, Authorization, Accept, X-Requested-With"
    if asked and len(asked) <= LONGEST_ASKED_BYTES:
        names = (name.strip() for name in asked.split(b","))
        allowed = b", ".join(name for name in names if _TOKEN.fullmatch(name))
    return [
        (b"access-control-allow-origin", b"*"),
        (b"access-control-allow-methods", b"GET, POST, PUT, PATCH, DELETE, OPTIONS"),
        (b"access-control-allow-headers", allowed),
        (b"access-control-max-age", b"86400"),
    ]


def refuse_other_sites(request_headers: Sequence[tuple[bytes, bytes]]) -> None:
    """RequestError(FORBIDDEN) when a browser says that another site's page sent this.

    Programs send neither `Sec-Fetch-Site` nor `Origin` and are never affected.
    """
    headers = dict(request_headers)
    site = headers.get(b"sec-fetch-site")
    origin = headers.get(b"origin")
    if site is not None:
        foreign = site == b"cross-site"
    elif origin is not None:
        # Ports may differ: what runs on the same host is the same site, as browsers see it too.
        ours = _host(b"//" + headers.get(b"host", b""))
        foreign = ours is None or _host(origin) != ours
    else:
        foreign = False
    if foreign:
        raise RequestError(Fault.FORBIDDEN, "pages of other sites may not use this address")


def _host(url: bytes) -> bytes | None:
    """None when there is none, as in the `null` of a page that will not say where it is from."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
