"""The control plane as one FastAPI application: every noun's routes, the errors, the document."""

from __future__ import annotations

from typing import Any

from fastapi import Depends, FastAPI
from fastapi.responses import JSONResponse
from pydantic import TypeAdapter

from swapyard.api import config, events, gate, logs, machine, models, pages, profiles, requests, status
from swapyard.api.schemas import EVENTS, ErrorEnvelope
from swapyard.api.services import Services

NOUNS = (status, models, logs, events, requests, profiles, machine, config, pages)


def build(services: Services) -> FastAPI:
    app = FastAPI(
        title="swapyard",
        summary="One address in front of many local inference servers: the control plane.",
        version=services.build.version,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    gate.install(app, services)
    for noun in NOUNS:
        app.include_router(noun.routes(services))
    describe = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            _add_events(describe())
            _add_errors(describe())
        return describe()

    app.openapi = described  # type: ignore[method-assign]
    checks = [Depends(gate.key_check(services)), Depends(gate.site_check)]

    @app.get("/openapi.json", include_in_schema=False, dependencies=checks)
    async def document() -> JSONResponse:
        return JSONResponse(described())

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


def _add_errors(document: dict[str, Any]) -> None:
    """What every operation answers when it refuses, in place of the framework's own idea of it."""
    components = document["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        components.pop(name, None)
    schema = TypeAdapter(ErrorEnvelope).json_schema(ref_template="#/components/schemas/{model}")
    components |= schema.pop("$defs", {})
    components["ErrorEnvelope"] = schema
    # The Accept header of a request may ask for text or a page instead.
    text = {"schema": {"type": "string"}}
    content = {
        "application/json": {"schema": {"$ref": "#/components/schemas/ErrorEnvelope"}},
        "text/plain": text,
        "text/html": text,
    }
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = {"description": "A refusal", "content": content}
