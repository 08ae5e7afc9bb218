"""The control plane as one FastAPI application: every noun's routes, the errors, the document."""

from __future__ import annotations

from fastapi import FastAPI

from swapyard.api import config, events, gate, logs, machine, models, pages, profiles, requests, status
from swapyard.api.services import Services

NOUNS = (status, models, logs, events, requests, profiles, machine, config, pages)


def build(services: Services) -> FastAPI:
    app = FastAPI(
        title="swapyard",
        summary="One address in front of many local inference servers: the control plane.",
        version=services.build.version,
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    gate.install(app)
    for noun in NOUNS:
        app.include_router(noun.routes(services))
    return app
