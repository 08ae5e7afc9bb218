"""One request with what is known about it from the start."""

from __future__ import annotations

from swapyard.errors import Fault, RequestError
from swapyard.proxy.generation import Generation
from swapyard.proxy.reply import ModelReply
from swapyard.web.auth import Caller
from swapyard.web.messages import Request


class Visit:
    """`generation` and `profile` are those it arrived under; it keeps them to its end."""

    __slots__ = ("caller", "generation", "profile", "reply", "request")

    def __init__(
        self,
        request: Request,
        reply: ModelReply,
        generation: Generation,
        profile: str | None,
        caller: Caller,
    ) -> None:
        self.request = request
        self.reply = reply
        self.generation = generation
        self.profile = profile
        self.caller = caller

    def cancel(self) -> None:
        """End the request on an operator's word."""
        self.request.end(RequestError(Fault.CANCELLED, "cancelled by the operator"))

    @property
    def content_type(self) -> str:
        return self.request.fields.get(b"content-type", b"").decode("latin-1")

    @property
    def client_address(self) -> str:
        """Whom the request is from, as far as it says so itself: X-Forwarded-For, X-Real-IP, the socket."""
        return client_address(self.request)

    @property
    def socket_address(self) -> str:
        client = self.request.client
        return client[0] if client else ""


def client_address(request: Request) -> str:
    fields = request.fields
    if value := fields.get(b"x-forwarded-for") or fields.get(b"x-real-ip"):
        return value.partition(b",")[0].strip().decode("latin-1")
    return request.client[0] if request.client else ""
