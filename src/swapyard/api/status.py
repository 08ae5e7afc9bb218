"""Whether the program lives, what it is, and where its pages are."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Response
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse

from swapyard.api import gate, schemas
from swapyard.api.services import Services


def routes(services: Services) -> APIRouter:
    router = APIRouter(tags=["status"])
    key = Depends(gate.key_check(services))
    site = Depends(gate.site_check)

    @router.get("/", include_in_schema=False)
    async def root() -> Response:
        return RedirectResponse("/ui", 302)

    @router.get("/upstream", include_in_schema=False)
    async def upstreams() -> Response:
        return RedirectResponse("/ui/models", 302)

    @router.get("/health", response_class=PlainTextResponse)
    @router.get("/wol-health", response_class=PlainTextResponse, include_in_schema=False)
    async def health() -> Response:
        """The program is up; says nothing about models."""
        return PlainTextResponse("OK")

    @router.get("/api/live", response_class=PlainTextResponse)
    async def live() -> Response:
        """Liveness: the event loop turns."""
        return PlainTextResponse("OK")

    @router.get(
        "/api/ready",
        response_class=PlainTextResponse,
        responses={503: {"description": "A shutdown has begun", **schemas.of_text("text/plain")[200]}},
    )
    async def ready() -> Response:
        """Readiness: new requests are accepted; 503 once a shutdown has begun.

        The first line is the answer.  Each part that does not work right now has a line behind it,
        `down: <part>: <reason>`: requests are served without it.
        """
        down = [f"down: {part}: {reason}" for part, reason in sorted(services.upkeep.down().items())]
        if services.dispatcher.scheduler.shutting_down:
            return PlainTextResponse("\n".join(["shutting down", *down]), 503)
        return PlainTextResponse("\n".join(["OK", *down]))

    @router.get("/api/version", dependencies=[key, site], response_model=schemas.Version)
    async def version() -> Response:
        """Version, commit and build date of this program."""
        build = services.build
        return JSONResponse({"version": build.version, "commit": build.commit, "build_date": build.date})

    return router
