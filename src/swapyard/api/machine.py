"""The machine: how busy it is, what it is made of, and both for Prometheus."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from swapyard.api import gate, schemas
from swapyard.api.services import Services
from swapyard.errors import Fault, RequestError
from swapyard.observe.exposition import CONTENT_TYPE
from swapyard.observe.timestamps import from_rfc3339
from swapyard.types import ModelId


def routes(services: Services) -> APIRouter:
    checks = [Depends(gate.key_check(services)), Depends(gate.site_check)]
    router = APIRouter(dependencies=checks, tags=["machine"])

    @router.get(
        "/api/performance",
        response_model=schemas.Performance,
        responses={503: {"description": "Monitoring is switched off", "model": schemas.Performance}},
        openapi_extra={"parameters": [schemas.in_query("after", "string")]},
    )
    async def performance(request: Request) -> Response:
        """Samples of the last hour, oldest first; with `after` only those strictly later."""
        after = request.query_params.get("after", "").strip()
        try:
            since = datetime.fromtimestamp(from_rfc3339(after), UTC) if after else None
        except ValueError:
            message = "invalid 'after' timestamp, use RFC3339 format"
            raise RequestError(Fault.BAD_REQUEST, message) from None
        samples = services.monitor.samples(since)
        return JSONResponse(samples, 200 if samples["enabled"] else 503)

    @router.get("/metrics", response_class=Response, responses=schemas.of_text("text/plain"))
    async def metrics() -> Response:
        """Prometheus exposition."""
        return Response(services.metrics.render(), headers={"content-type": CONTENT_TYPE})

    @router.get("/api/hardware", response_model=schemas.Hardware)
    async def hardware() -> Response:
        """What the machine is made of, as found at start."""
        found = services.hardware()
        if found is None:
            raise RequestError(Fault.NOT_READY, "hardware detection unavailable")
        return JSONResponse(found)

    @router.get("/api/yard", response_model=schemas.YardPicture)
    async def yard() -> Response:
        """The last hour of every model: its states, what it served, who waited."""
        models = [ModelId(model) for model in services.config().models]
        return JSONResponse(services.yard.picture(models, time.time()))

    return router
