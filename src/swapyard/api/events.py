"""`/api/events`: everything a page needs to stay up to date, in one stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, get_args

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from swapyard import notices
from swapyard.api import gate, schemas
from swapyard.api.models import status_json
from swapyard.api.services import Services
from swapyard.bus import PART, Gap
from swapyard.observe.logs import Source, text
from swapyard.observe.timestamps import rfc3339
from swapyard.web import sse

HEARTBEAT_SECONDS = 15.0

KINDS = get_args(notices.Notice)
MESSAGES = {
    notices.LogWritten: "logData",
    notices.ActivityRecorded: "activity",
    notices.InflightChanged: "inflight",
    notices.WaitingChanged: "waiting",
    notices.ModelPreloaded: "modelPreloaded",
}
"""Notices that become one message of one type, so that a client can do without them."""


def routes(services: Services) -> APIRouter:
    checks = [Depends(gate.key_check(services)), Depends(gate.site_check)]
    router = APIRouter(dependencies=checks, tags=["events"])

    @router.get(
        "/api/events",
        response_class=StreamingResponse,
        responses=schemas.of_text("text/event-stream"),
    )
    async def events(request: Request, without: Annotated[list[str], Query()] = []) -> Response:  # noqa: B006
        """Server-sent events; each `data` is an envelope {type, data} whose `data` is JSON in a string.

        `without` names types that the client can do without, and may repeat.
        """
        headers = {name.decode(): value.decode() for name, value in sse.HEADERS}
        if request.scope.get("head"):
            return Response(headers=headers)
        services.watchers.admit()
        return StreamingResponse(stream(frozenset(without)), headers=headers)

    async def stream(without: frozenset[str]) -> AsyncIterator[bytes]:
        kinds = [kind for kind in KINDS if MESSAGES.get(kind) not in without]
        with services.bus.subscribe(*kinds) as subscription:
            yield b"".join(initial(without))
            while True:
                try:
                    async with asyncio.timeout(HEARTBEAT_SECONDS):
                        notice = await subscription.next()
                except TimeoutError:
                    yield sse.HEARTBEAT
                    continue
                if notice is None:
                    return
                with services.upkeep.guard(PART) as told:
                    told_now = b"".join(messages(notice))
                if told.failed:
                    # One notice cannot be told: the client gets what is true now instead.
                    told_now = b"".join(messages(Gap(1)))
                yield told_now

    def initial(without: frozenset[str]) -> Iterator[bytes]:
        if "logData" not in without:
            for source in (Source.PROXY, Source.UPSTREAM):
                yield log_data(source.value, services.logs.history(source))
        yield models()
        session_id = list(services.config().ui.activity.session_id)
        yield sse.message("uiConfig", {"activity": {"session_id": session_id}})
        yield profile()
        yield snapshot()

    def models() -> bytes:
        return sse.message("modelStatus", status_json(services))

    def profile() -> bytes:
        return sse.message("profileChanged", {"active": services.active_profile()})

    def snapshot() -> bytes:
        return sse.message("inflight", services.recorder.inflight.snapshot())

    def log_data(source: str, data: bytes) -> bytes:
        return sse.message("logData", {"data": text(data), "source": source})

    def messages(notice: notices.Notice | Gap) -> Iterator[bytes]:
        match notice:
            case Gap(lost=lost):
                # What was lost is told anew: profile, states and requests as they are now.  Not a word of it
                # in the log, which is part of this stream and would only make it longer.
                yield sse.message("gap", {"lost": lost})
                yield profile()
                yield models()
                yield snapshot()
            case notices.StateChanged():
                yield models()
                yield sse.message("stateChanged", state_json(notice))
            case notices.ConfigReloaded(error=error):
                yield sse.message("configReloaded", {"error": error})
                yield models()
            case notices.ProfileChanged(active=active):
                yield sse.message("profileChanged", {"active": active})
                yield models()
            case notices.ActivityRecorded(id=id):
                yield sse.message("activity", {"id": id})
            case notices.InflightChanged(payload=payload):
                yield sse.message("inflight", payload)
            case notices.WaitingChanged(model=model, count=count, reason=reason):
                yield sse.message("waiting", {"model": model, "count": count, "reason": reason})
            case notices.ModelPreloaded(model=model, success=success):
                yield sse.message("modelPreloaded", {"model": model, "success": success})
            case notices.LogWritten(source=source, data=data):
                if source != Source.COMBINED.value:
                    yield log_data(source, data)

    return router


def state_json(notice: notices.StateChanged) -> dict[str, Any]:
    return {
        "model": notice.model,
        "old": notice.old.value,
        "new": notice.new.value,
        "reason": notice.reason,
        "at": rfc3339(notice.at),
    }
