"""The control plane as one FastAPI application: every noun's routes, the errors, the document."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import TypeAdapter

from swapyard.api import config, events, gate, logs, machine, models, pages, profiles, requests, status
from swapyard.api.schemas import EVENTS
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
    describe = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            _add_events(describe())
        return describe()

    app.openapi = described  # type: ignore[method-assign]
    return app


def _add_events(document: dict[str, Any]) -> None:
    """The messages of the event stream, which OpenAPI has no place for, as the schema `Events`."""
    components = document["components"]["schemas"]
    properties = {}
    for kind, shape in EVENTS.items():
        schema = TypeAdapter(shape).json_schema(ref_template="#/components/schemas/{model}")
        components |= schema.pop("$defs", {})
        properties[kind] = schema
    components["Events"] = {"type": "object", "properties": properties, "required": list(EVENTS)}
