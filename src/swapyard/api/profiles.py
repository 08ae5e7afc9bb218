"""Profiles: named sets of pins, one or none of them active."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import TypeAdapter

from swapyard.api import gate, schemas
from swapyard.api.services import Services
from swapyard.errors import Fault, RequestError
from swapyard.web.names import checked

BODY_LIMIT_BYTES = 64 * 1024
"""Longest body that is read to find the name of a profile in it."""

WANTED = TypeAdapter(schemas.WantedProfile).json_schema()


def routes(services: Services) -> APIRouter:
    checks = [Depends(gate.key_check(services)), Depends(gate.site_check)]
    router = APIRouter(dependencies=checks, tags=["profiles"])

    @router.get("/api/profiles", response_model=schemas.Profiles)
    async def profiles() -> Response:
        """Every profile with its pins, and which one is active."""
        rows = [
            {
                "id": name,
                "description": profile.description,
                "pins": {pin: target or "" for pin, target in profile.pins.items()},
            }
            for name, profile in sorted(services.config().profiles.items())
        ]
        return JSONResponse({"active": services.active_profile(), "profiles": rows})

    @router.put(
        "/api/profiles/active",
        response_model=schemas.ActiveProfile,
        openapi_extra={
            "requestBody": {"required": True, "content": {"application/json": {"schema": WANTED}}}
        },
    )
    async def activate(request: Request) -> Response:
        """Make a profile the active one; a name of null or "" means none."""
        name = _wanted(await _body(request))
        if name is not None and name not in services.config().profiles:
            raise RequestError(Fault.NOT_FOUND, f'profile "{name}" not found')
        services.activate_profile(name)
        return JSONResponse({"active": name})

    return router


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT_BYTES:
            raise RequestError(Fault.TOO_LARGE, "the body is too long to be a choice of profile")
    return body


def _wanted(body: bytes) -> str | None:
    """The member `name` of the first JSON value; the content type and what follows do not matter."""
    try:
        value: Any = json.JSONDecoder().raw_decode(body.decode().lstrip())[0]
    except (ValueError, RecursionError):
        raise RequestError(Fault.BAD_REQUEST, "invalid profile request") from None
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise RequestError(Fault.BAD_REQUEST, "invalid profile request")
    if "name" not in value:
        raise RequestError(Fault.BAD_REQUEST, "profile name is required")
    name = value["name"]
    if name is not None and not isinstance(name, str):
        raise RequestError(Fault.BAD_REQUEST, "profile name must be a string or null")
    return checked(name, "the profile's name") if name else None
