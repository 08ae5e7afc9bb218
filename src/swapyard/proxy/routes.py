"""The table of data-plane routes: which path and method goes to a model, and what is recorded of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from swapyard.observe.parts import Parts


class ModelIn(Enum):
    """Where the model's name usually stands; for BODY, FORM and QUERY the Content-Type has the last word."""

    BODY = auto()
    FORM = auto()
    QUERY = auto()
    PATH = auto()
    # The route serves one model whose name is part of the program (`comfyui_auto`).
    FIXED = auto()


class Loading(Enum):
    """Whether a client of this route may be shown a stream of text while its model loads (§4.2)."""

    SHOWN = auto()
    SILENT = auto()


class Metering(Enum):
    """Whether an exchange is written to the activity log and may be captured."""

    METERED = auto()
    UNMETERED = auto()


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the table.

    `path` ends in `/` for the two families, `/upstream/` and `/comfyui/`; all others match whole.  `methods`
    is empty when every method goes.  `upstream_path` is what the upstream sees; a family's is empty: it is
    what follows the model's name.
    """

    path: str
    methods: frozenset[str]
    model_in: ModelIn
    upstream_path: str
    stored: Parts
    metering: Metering
    loading: Loading

    @property
    def metered(self) -> bool:
        return self.metering is Metering.METERED

    @property
    def shows_loading(self) -> bool:
        return self.loading is Loading.SHOWN


@dataclass(frozen=True, slots=True)
class MethodNotAllowed:
    """The path is known, the method is not.  `allowed` is the Allow header's value (§1.2)."""

    allowed: str


@dataclass(frozen=True, slots=True)
class Redirect:
    """An answer that sends the client to `path`; the query goes along."""

    status: int
    path: str


_GET = frozenset({"GET", "HEAD"})
_POST = frozenset({"POST"})
_NO_REQUEST_BODY = Parts.ALL & ~Parts.REQUEST_BODY
_NO_RESPONSE_BODY = Parts.ALL & ~Parts.RESPONSE_BODY
_HEADERS_ONLY = Parts.REQUEST_HEADERS | Parts.RESPONSE_HEADERS


def _post(
    path: str, stored: Parts = Parts.ALL, *, model_in: ModelIn = ModelIn.BODY, without: str = ""
) -> Route:
    loading = Loading.SHOWN if path.startswith("/v1/chat/completions") else Loading.SILENT
    upstream_path = path.removeprefix(without)
    return Route(path, _POST, model_in, upstream_path, stored, Metering.METERED, loading)


def _get(path: str) -> Route:
    return Route(path, _GET, ModelIn.QUERY, path, Parts.NONE, Metering.UNMETERED, Loading.SILENT)


def _family(path: str, model_in: ModelIn) -> Route:
    return Route(path, frozenset(), model_in, "", Parts.NONE, Metering.UNMETERED, Loading.SILENT)


UPSTREAM = _family("/upstream/", ModelIn.PATH)
"""Transparent access to one model's server; `find` the rest of the path to learn what is recorded."""

COMFYUI = _family("/comfyui/", ModelIn.FIXED)

ROUTES: tuple[Route, ...] = (
    _post("/v1/chat/completions"),
    _post("/v1/completions"),
    _post("/v1/responses"),
    _post("/v1/messages"),
    _post("/v1/messages/count_tokens"),
    _post("/v1/embeddings"),
    _post("/reranking"),
    _post("/rerank"),
    _post("/v1/rerank"),
    _post("/v1/reranking"),
    _post("/infill"),
    _post("/completion"),
    _post("/v1/audio/speech", _NO_RESPONSE_BODY),
    _post("/v1/audio/voices", _NO_REQUEST_BODY),
    _get("/v1/audio/voices"),
    _post("/v1/audio/transcriptions", _NO_REQUEST_BODY, model_in=ModelIn.FORM),
    _post("/v1/images/generations", _NO_RESPONSE_BODY),
    _post("/v1/images/edits", _HEADERS_ONLY, model_in=ModelIn.FORM),
    _post("/sdapi/v1/txt2img", _NO_RESPONSE_BODY),
    _post("/sdapi/v1/img2img", _HEADERS_ONLY),
    _get("/sdapi/v1/loras"),
    _get("/props"),
    _post("/audioapi/v1/tasks/run", without="/audioapi"),
    _post("/v/chat/completions", without="/v"),
    _post("/v/responses", without="/v"),
    _post("/v/completions", without="/v"),
    _post("/v/messages", without="/v"),
    _post("/v/messages/count_tokens", without="/v"),
    _post("/v/embeddings", without="/v"),
    _post("/v/rerank", without="/v"),
    _post("/v/reranking", without="/v"),
    UPSTREAM,
    COMFYUI,
)

LONGEST_CLEANED = 64 * 1024
"""Characters of a path that is cleaned, segment by segment; in a longer one nobody has mistyped a slash."""

_FAMILIES = tuple(route for route in ROUTES if not route.methods)
_BY_METHOD_AND_PATH = {(method, route.path): route for route in ROUTES for method in route.methods}
_ALLOWED = {
    route.path: MethodNotAllowed(
        ", ".join(sorted(m for other in ROUTES if other.path == route.path for m in other.methods))
    )
    for route in ROUTES
    if route.methods
}


def find(method: str, path: str) -> Route | MethodNotAllowed | None:
    """The row for a request; None when the path is none of the data plane's.

    `path` is compared as it is given; the families are recognised by their beginning.
    """
    route = _BY_METHOD_AND_PATH.get((method, path))
    if route is not None:
        return route
    for family in _FAMILIES:
        if path.startswith(family.path):
            return family
    return _ALLOWED.get(path)


def redirect(method: str, path: str) -> Redirect | None:
    """Where a request to a path that is not quite right is sent; None when the path is fine (§1.2, §5.19).

    `GET /upstream` is not among them: it leads to the web UI, which answers for itself.
    """
    clean = cleaned(path) if len(path) <= LONGEST_CLEANED else None
    if clean is not None:
        return Redirect(307, clean)
    reads = method in _GET
    if path == "/comfyui":
        return Redirect(301 if reads else 308, COMFYUI.path)
    if path == "/upstream" and not reads:
        return Redirect(307, UPSTREAM.path)
    return None


def cleaned(path: str) -> str | None:
    """The path without empty, `.` and `..` segments, a trailing slash kept; None when it has none of these.

    Give the path as it came over the wire: `%2E` and `%2F` are ordinary text here.
    """
    unclean = "//" in path or "/./" in path or "/../" in path or path.endswith(("/.", "/.."))
    if path.startswith("/") and not unclean:
        return None
    segments: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del segments[-1:]
        elif segment not in ("", "."):
            segments.append(segment)
    return "/" + "/".join(segments) + ("/" if segments and path.endswith("/") else "")
