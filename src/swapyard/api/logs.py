"""The logs over HTTP: what was written, and what is being written."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse

from swapyard.api import gate, schemas
from swapyard.api.services import Services
from swapyard.errors import Fault, RequestError
from swapyard.observe.logs import Source
from swapyard.types import ModelId
from swapyard.web.names import checked

PLAIN = {"content-type": "text/plain"}
TEXT = schemas.of_text("text/plain")
NO_HISTORY = {"parameters": [schemas.in_query("no-history", "string")]}


def routes(services: Services) -> APIRouter:
    checks = [Depends(gate.key_check(services)), Depends(gate.site_check)]
    router = APIRouter(dependencies=checks, tags=["logs"])

    @router.get("/logs", response_class=Response, responses=TEXT)
    async def history(request: Request) -> Response:
        """The newest 100 KiB of the combined log; browsers are sent to the page that shows it."""
        if "text/html" in request.headers.get("accept", ""):
            return RedirectResponse("/ui/", 302)
        return Response(services.logs.history(Source.COMBINED), headers=PLAIN)

    @router.get("/logs/stream", response_class=StreamingResponse, responses=TEXT, openapi_extra=NO_HISTORY)
    async def combined(request: Request) -> Response:
        """The combined log, followed; `no-history` leaves out what was written before."""
        return follow(request, Source.COMBINED)

    @router.get(
        "/logs/stream/{name:path}",
        response_class=StreamingResponse,
        responses=TEXT,
        openapi_extra=NO_HISTORY,
    )
    async def one(request: Request, name: str) -> Response:
        """One log, followed: `proxy`, `upstream`, or a local model by id or alias."""
        return follow(request, source_of(name))

    def source_of(name: str) -> Source | ModelId:
        match checked(name):
            case "":
                return Source.COMBINED
            case "proxy":
                return Source.PROXY
            case "upstream":
                return Source.UPSTREAM
        found = services.names().leading_local(name)
        if found is None:
            message = "invalid logger. Use 'proxy', 'upstream' or a model's ID"
            raise RequestError(Fault.BAD_REQUEST, message)
        return found

    def follow(request: Request, source: Source | ModelId) -> Response:
        headers = {**PLAIN, "x-content-type-options": "nosniff", "x-accel-buffering": "no"}
        if request.scope.get("head"):
            return Response(headers=headers)

        services.watchers.admit()

        async def text() -> AsyncIterator[bytes]:
            with services.logs.follow(source, history="no-history" not in request.query_params) as follower:
                async for data in follower:
                    yield data

        return StreamingResponse(text(), headers=headers)

    return router
