"""What every control route checks first, and how their errors become answers."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from swapyard.api.services import Services
from swapyard.errors import Fault, RequestError
from swapyard.web import cors, errors

LONGEST_TARGET_BYTES = 16 * 1024
"""Longest path and query of a control route."""

LONGEST_HEADERS_BYTES = 64 * 1024
"""Longest headers of a request to a control route, all together."""

Check = Callable[[Request], None]


class ShortHeads:
    """Refuses long heads before the framework reads them.

    It splits queries and cookies piece by piece, and on Python before 3.11.10 and 3.12.6 in quadratic time
    (CVE-2024-7592), all of it on the event loop.  Nothing here has cookies.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if len(scope["raw_path"]) + len(scope["query_string"]) > LONGEST_TARGET_BYTES:
                await PlainTextResponse("URI Too Long\n", 414)(scope, receive, send)
                return
            headers = scope["headers"]
            if sum(len(name) + len(value) for name, value in headers) > LONGEST_HEADERS_BYTES:
                response = PlainTextResponse("Request Header Fields Too Large\n", 431)
                await response(scope, receive, send)
                return
            scope = {**scope, "headers": [header for header in headers if header[0] != b"cookie"]}
        await self._app(scope, receive, send)


def key_check(services: Services) -> Check:
    """An API key is needed where keys are configured."""

    def check(request: Request) -> None:
        services.keys().admit(request.scope["headers"])

    return check


def site_check(request: Request) -> None:
    """Pages of other sites may neither read nor change anything here."""
    cors.refuse_other_sites(request.scope["headers"])


def answer(error: RequestError, accept: str) -> Response:
    status, headers, body = errors.render(error, accept)
    response = Response(body, status)
    response.raw_headers = headers
    return response


def install(app: FastAPI) -> None:
    """The limit of heads; the bodies of refusals: the negotiated envelope, or text for the router's own."""

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestError)
        return answer(error, request.headers.get("accept", ""))

    async def not_routed(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        text = {404: "404 page not found\n", 405: "Method Not Allowed\n"}.get(error.status_code, error.detail)
        headers = {"x-content-type-options": "nosniff", **_with_head(error.headers or {})}
        return Response(text, error.status_code, headers, "text/plain")

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or first["loc"][0]
        problem = RequestError(Fault.BAD_REQUEST, f"{where}: {first['msg']}")
        return answer(problem, request.headers.get("accept", ""))

    app.add_middleware(ShortHeads)
    app.add_exception_handler(RequestError, refused)
    app.add_exception_handler(HTTPException, not_routed)
    app.add_exception_handler(RequestValidationError, invalid)


def _with_head(headers: object) -> dict[str, str]:
    """`Allow` with HEAD beside GET, alphabetically: the front door answers HEAD wherever there is GET."""
    result = dict(headers) if isinstance(headers, dict) else {}
    if (allowed := result.pop("Allow", None)) is not None:
        methods = {method.strip() for method in allowed.split(",")}
        if "GET" in methods:
            methods.add("HEAD")
        result["Allow"] = ", ".join(sorted(methods))
    return result
