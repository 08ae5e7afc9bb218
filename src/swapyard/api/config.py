"""The configuration: load it again."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Response
from fastapi.responses import JSONResponse

from swapyard.api import gate, schemas
from swapyard.api.services import Services
from swapyard.errors import Fault, RequestError


def routes(services: Services) -> APIRouter:
    checks = [Depends(gate.key_check(services)), Depends(gate.site_check)]
    router = APIRouter(dependencies=checks, tags=["configuration"])

    @router.post("/api/config/reload", response_model=schemas.Reload)
    async def reload() -> Response:
        """Load the configuration again; 400 with every problem, and nothing changed, when it is invalid."""
        outcome = await services.reload()
        if outcome.problems:
            raise RequestError(Fault.BAD_REQUEST, "\n".join(outcome.problems))
        return JSONResponse({"changed": list(outcome.changed), "warnings": list(outcome.warnings)})

    return router
