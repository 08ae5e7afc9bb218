"""Models as the control plane shows and orders them: lists, what runs, load, unload, keep."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from swapyard.api import gate, listing, schemas
from swapyard.api.services import Services
from swapyard.config.names import LocalModel
from swapyard.errors import Fault, RequestError
from swapyard.observe.timestamps import rfc3339
from swapyard.processes.fleet import ProcessStatus
from swapyard.types import ModelId, State
from swapyard.web.names import checked

RUNNING = (State.STARTING, State.READY, State.STOPPING)


def state_of(services: Services) -> listing.StateOf:
    """A snapshot to be shown, never acted upon."""
    statuses = services.dispatcher.statuses()
    return lambda model: statuses[model].state if model in statuses else State.STOPPED


def local_model(services: Services, name: str) -> ModelId:
    """The local model of that name or alias; RequestError(NOT_FOUND) otherwise."""
    found = services.names().resolve(checked(name))
    if isinstance(found, LocalModel):
        return found.model
    raise RequestError(Fault.NOT_FOUND, "model not found")


def routes(services: Services) -> APIRouter:
    router = APIRouter(dependencies=[Depends(gate.key_check(services))], tags=["models"])
    site = [Depends(gate.site_check)]

    def records() -> list[dict[str, Any]]:
        return listing.records(
            services.config(),
            services.names(),
            services.active_profile(),
            state_of(services),
            created=int(time.time()),
        )

    def with_origin(request: Request, value: Any) -> Response:
        origin = request.headers.get("origin")
        return JSONResponse(value, headers={"access-control-allow-origin": origin} if origin else None)

    @router.get("/v1/models", response_model=schemas.ModelList)
    @router.get("/models", response_model=schemas.ModelList, include_in_schema=False)
    async def list_models(request: Request) -> Response:
        """Every model, alias, selector and pin that a request may name."""
        return with_origin(request, {"object": "list", "data": records()})

    @router.get("/v1/models/{model_id:path}", response_model=schemas.ModelRecord)
    async def one_model(request: Request, model_id: str) -> Response:
        """The record of one name of the list."""
        for record in records():
            if record["id"] == checked(model_id):
                return with_origin(request, record)
        raise RequestError(Fault.NOT_FOUND, "model not found")

    @router.get("/running", response_model=schemas.Running, dependencies=site)
    async def running() -> Response:
        """The local models that occupy memory, by id."""
        statuses = services.dispatcher.statuses()
        config = services.config()
        rows = [
            {
                "model": model,
                "state": status.state.value,
                "cmd": settings.cmd,
                "proxy": settings.proxy,
                "ttl": int(settings.ttl),
                "name": settings.name,
                "description": settings.description,
            }
            for model, settings in sorted(config.models.items())
            if (status := statuses.get(ModelId(model))) is not None and status.state in RUNNING
        ]
        return JSONResponse({"running": rows})

    @router.get("/unload", dependencies=site, response_class=PlainTextResponse)
    async def unload_by_get(request: Request) -> Response:
        """Stop every local model; returns when all are gone.  HEAD changes nothing."""
        if not request.scope.get("head"):
            await unload_all()
        return PlainTextResponse("OK")

    async def unload_all() -> None:
        await services.dispatcher.unload(ModelId(model) for model in services.config().models)

    @router.post("/api/models/unload", dependencies=site, response_model=schemas.Message)
    async def unload_every_model() -> Response:
        """Stop every local model; returns when all are gone."""
        await unload_all()
        return JSONResponse({"msg": "ok"})

    @router.post("/api/models/unload/{model:path}", dependencies=site, response_class=PlainTextResponse)
    async def unload_model(model: str) -> Response:
        """Stop one local model, named by id or alias; requests that wait for it are refused."""
        await services.dispatcher.unload([local_model(services, model)])
        return PlainTextResponse("OK")

    @router.post("/api/models/load/{model:path}", dependencies=site, response_model=schemas.Message)
    async def load_model(model: str) -> Response:
        """Load one local model, waiting in line like any request; returns when it is ready."""
        await services.load(local_model(services, model))
        return JSONResponse({"msg": "ok"})

    @router.post("/api/models/keep/{model:path}", dependencies=site, response_model=schemas.Message)
    async def keep_model(model: str) -> Response:
        """Start the idle time of a ready model anew; 409 when it is not ready."""
        named = local_model(services, model)
        if services.dispatcher.fleet.status(named).state is not State.READY:
            raise RequestError(Fault.CONFLICT, f"model {named} is not loaded")
        services.keep(named)
        return JSONResponse({"msg": "ok"})

    @router.get("/api/models", dependencies=site, response_model=list[schemas.Model])
    async def models() -> Response:
        """Every local model with all that is known about it, then the models of peers."""
        statuses = services.dispatcher.statuses()
        local = [local_json(services, ModelId(model), statuses) for model in sorted(services.config().models)]
        return JSONResponse(local + peer_models(services))

    return router


def status_json(services: Services) -> list[dict[str, Any]]:
    """The entries of a `modelStatus` message: local models by id, unlisted ones too, then peers'."""
    config = services.config()
    state = state_of(services)
    rows = []
    for model, settings in sorted(config.models.items()):
        about = listing.capabilities(settings.capabilities)
        row: dict[str, Any] = {
            "id": model,
            "name": settings.name,
            "description": settings.description,
            "state": _shown(state(ModelId(model))),
            "unlisted": settings.unlisted,
            "peerID": "",
        }
        if settings.aliases:
            row["aliases"] = list(settings.aliases)
        row |= {key: about[key] for key in ("capabilities", "context_length") if key in about}
        rows.append(row)
    return rows + peer_models(services)


def peer_models(services: Services) -> list[dict[str, Any]]:
    return [
        {
            "id": f"{peer}/{model}",
            "name": "",
            "description": "",
            "state": "",
            "unlisted": False,
            "peerID": peer,
        }
        for peer, settings in services.config().peers.items()
        for model in dict.fromkeys(settings.models)
    ]


def _shown(state: State) -> str:
    return State.STOPPED.value if state is State.SHUTDOWN else state.value


def _wall_clock(moment: float, now: float) -> str:
    """A moment of the monotonic clock as an instant."""
    return rfc3339(time.time() + moment - now)


def _port(proxy: str) -> int | None:
    try:
        return urlsplit(proxy).port
    except ValueError:
        return None


def local_json(
    services: Services, model: ModelId, statuses: Mapping[ModelId, ProcessStatus]
) -> dict[str, Any]:
    """One row of `GET /api/models`."""
    settings = services.config().models[model]
    about = listing.capabilities(settings.capabilities)
    status: ProcessStatus | None = statuses.get(model)
    scheduler = services.dispatcher.scheduler
    deadline = scheduler.idle_deadline(model)
    memory = services.monitor.memory().get(model)
    return {
        "id": model,
        "name": settings.name,
        "description": settings.description,
        "state": _shown(status.state) if status else State.STOPPED.value,
        "unlisted": settings.unlisted,
        "peerID": "",
        "aliases": list(settings.aliases),
        "capabilities": about.get("capabilities", {}),
        "context_length": about.get("context_length", 0),
        "cmd": settings.cmd,
        "proxy": settings.proxy,
        "port": _port(settings.proxy),
        "pid": status.pid if status else None,
        "since": None if status is None else _wall_clock(status.since, services.clock()),
        "ttl": int(settings.ttl),
        "idle_deadline": None if deadline is None else _wall_clock(deadline, services.clock()),
        "in_flight": scheduler.in_flight(model),
        "waiting": scheduler.waiting(model),
        "waiting_reasons": services.dispatcher.waiting_reasons(model),
        "memory": None
        if memory is None
        else {"resident_bytes": memory.resident_bytes, "gpu": memory.gpu_bytes},
        "load_seconds": status.load_seconds if status else None,
        "last_error": (status.last_error if status else None) or "",
    }
