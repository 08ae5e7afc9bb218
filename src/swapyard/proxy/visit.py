"""One request with what is known about it from the start, and how an operator can end it."""

from __future__ import annotations

import asyncio

from swapyard.proxy.generation import Generation
from swapyard.proxy.reply import Reply
from swapyard.web.auth import Caller
from swapyard.web.server import Receive, Scope


class Visit:
    """`generation` and `profile` are those it arrived under; it keeps them to its end."""

    __slots__ = ("caller", "generation", "is_websocket", "profile", "receive", "reply", "scope")

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        reply: Reply,
        generation: Generation,
        profile: str | None,
        caller: Caller,
        is_websocket: bool,
    ) -> None:
        self.scope = scope
        self.receive = receive
        self.reply = reply
        self.generation = generation
        self.profile = profile
        self.caller = caller
        self.is_websocket = is_websocket

    @property
    def method(self) -> str:
        method: str = self.scope["method"]
        return method

    @property
    def content_type(self) -> str:
        content_type: bytes = self.scope["fields"].get(b"content-type", b"")
        return content_type.decode("latin-1")

    @property
    def client_address(self) -> str:
        """Whom the request is from, as far as it says so itself: X-Forwarded-For, X-Real-IP, the socket."""
        return client_address(self.scope)

    @property
    def socket_address(self) -> str:
        client = self.scope["client"]
        return client[0] if client else ""


class Cancellation:
    """Ends a request on an operator's word: cancels the task that serves it, and says so."""

    __slots__ = ("_task", "ordered")

    def __init__(self, task: asyncio.Task[None] | None) -> None:
        self._task = task
        self.ordered = False

    def __call__(self) -> None:
        self.ordered = True
        if self._task is not None:
            self._task.cancel("cancelled by the operator")

    def taken_back(self) -> bool:
        """Whether the cancellation that has just been caught was this one; then the task may go on."""
        if self.ordered and self._task is not None:
            self._task.uncancel()
        return self.ordered


def client_address(scope: Scope) -> str:
    fields: dict[bytes, bytes] = scope["fields"]
    if value := fields.get(b"x-forwarded-for") or fields.get(b"x-real-ip"):
        return value.partition(b",")[0].strip().decode("latin-1")
    client = scope["client"]
    return client[0] if client else ""
