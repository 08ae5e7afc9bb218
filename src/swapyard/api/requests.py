"""Requests: those in flight, those that were, and what was kept of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ParamSpec

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from swapyard.api import gate, schemas
from swapyard.api.services import Services
from swapyard.errors import Fault, RequestError
from swapyard.observe.activity_query import parse_query
from swapyard.observe.schema import StoreError

P = ParamSpec("P")


def routes(services: Services) -> APIRouter:
    checks = [Depends(gate.key_check(services)), Depends(gate.site_check)]
    router = APIRouter(dependencies=checks, tags=["requests"])

    @router.get("/api/inflight", response_model=schemas.Inflight)
    async def inflight() -> Response:
        """The requests that have not ended, oldest first."""
        return JSONResponse({"requests": services.recorder.inflight.entries()})

    @router.post("/api/inflight/{request}/cancel", response_model=schemas.Message)
    async def cancel(request: str) -> Response:
        """End one request on its client's behalf."""
        if not services.recorder.cancel(request):
            raise RequestError(Fault.NOT_FOUND, "inflight request not found")
        return JSONResponse({"msg": "ok"})

    @router.get(
        "/api/metrics/activity",
        response_model=schemas.ActivityPage,
        openapi_extra={
            "parameters": [schemas.in_query(name, kind) for name, kind in ACTIVITY_PARAMETERS.items()]
        },
    )
    async def activity(request: Request) -> Response:
        """One page of the activity log."""
        query = parse_query(request.query_params.multi_items())
        return JSONResponse(await looked_up(services.recorder.store.page, query, services.captures.has))

    @router.get(
        "/api/metrics/stats",
        response_model=schemas.Statistics,
        openapi_extra={"parameters": [schemas.in_query("model", "string")]},
    )
    async def statistics(request: Request) -> Response:
        """Sums and speed histograms over the whole activity log, or over one model's part of it."""
        # Of repeated ones the first counts.
        model = next(iter(request.query_params.getlist("model")), "").strip()
        return JSONResponse(await looked_up(services.recorder.store.statistics, model))

    @router.get("/api/captures/{activity}", response_model=schemas.Capture)
    async def capture(activity: str) -> Response:
        """What was kept of one exchange, bodies in base64."""
        try:
            number = int(activity)
        except ValueError:
            raise RequestError(Fault.BAD_REQUEST, "invalid capture ID") from None
        found = await asyncio.to_thread(services.captures.get, number)
        if found is None:
            raise RequestError(Fault.NOT_FOUND, "capture not found")
        return JSONResponse(found)

    return router


async def looked_up(look: Callable[P, dict[str, Any]], *args: P.args, **kwargs: P.kwargs) -> dict[str, Any]:
    """What the activity log has, found in a worker thread; RequestError when it cannot be read now."""
    try:
        return await asyncio.to_thread(look, *args, **kwargs)
    except StoreError as error:
        raise RequestError(Fault.NOT_READY, f"the activity log cannot be read: {error}") from error


ACTIVITY_PARAMETERS = {
    "model": "array",
    "start": "string",
    "end": "string",
    "min_id": "integer",
    "max_id": "integer",
    "status": "array",
    "path": "array",
    "key": "array",
    "session": "array",
    "request_id": "string",
    "q": "string",
    "limit": "integer",
    "page": "integer",
    "sort": "string",
    "order": "string",
}
