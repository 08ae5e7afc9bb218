"""The walk of one request through the data plane: let in, resolved, leased, relayed, recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from swapyard.dispatcher import Dispatcher, Lease, Loaded
from swapyard.errors import Fault, RequestError, UpstreamError
from swapyard.observe.activity import CLIENT_LEFT
from swapyard.observe.exchange import Exchange, Phase
from swapyard.observe.recorder import Recorder
from swapyard.proxy import doors, headers, resolve, routes
from swapyard.proxy.body import ClientLeft
from swapyard.proxy.generation import Generation
from swapyard.proxy.loading import Expectation, LoadingText, heartbeats_until_granted
from swapyard.proxy.local import LocalUpstreams
from swapyard.proxy.relay import not_reached, relay
from swapyard.proxy.reply import Reply
from swapyard.proxy.resolve import Target
from swapyard.proxy.routes import MethodNotAllowed, Route
from swapyard.proxy.sending import Payload
from swapyard.proxy.slices import Slices
from swapyard.proxy.upstreams import UpstreamRequest
from swapyard.proxy.visit import Cancellation, Visit
from swapyard.types import ModelId, State
from swapyard.web import errors
from swapyard.web.server import App, Receive, Scope, Send

Enter = Callable[[Visit], Awaitable[None]]


class DataPlane:
    """Serves every route that ends at a model.  `generation` and `profile` may be exchanged at any time."""

    def __init__(
        self, generation: Generation, dispatcher: Dispatcher, recorder: Recorder, clock: Callable[[], float]
    ) -> None:
        self.generation = generation
        self.profile: str | None = None
        self.local = LocalUpstreams()
        self._dispatcher = dispatcher
        self._recorder = recorder
        self._clock = clock
        self._slices = Slices()
        self._inferences: dict[tuple[str, str], App] = {
            (method, row.path): partial(self._let_in, partial(self._inference, row))
            for row in routes.ROUTES
            for method in row.methods
        }

    def find(self, scope: Scope) -> App | None:
        """Who serves this request; None for the paths of the control plane."""
        method = scope["method"]
        inference = self._inferences.get((method, scope["path"]))
        if inference is not None:
            return inference
        row = routes.find(method, scope["path"])
        if isinstance(row, MethodNotAllowed):
            return partial(_method_not_allowed, row.allowed)
        # Only what is not in the table word for word can be in need of cleaning.
        moved = routes.redirect(method, scope["raw_path"].decode("latin-1"))
        if moved is not None:
            return partial(_redirect, moved.status, moved.path)
        if row is None:
            return None
        return partial(self._let_in, self._upstream if row is routes.UPSTREAM else self._comfyui)

    async def _let_in(self, enter: Enter, scope: Scope, receive: Receive, send: Send) -> None:
        """Whoever has no business here is refused before anything is read."""
        reply = Reply(scope, send)
        generation, profile = self.generation, self.profile
        try:
            caller = generation.keys.admit(scope["headers"])
            is_websocket = b"upgrade" in scope["fields"] and headers.is_websocket(scope["headers"])
            await enter(Visit(scope, receive, reply, generation, profile, caller, is_websocket))
        except RequestError as error:
            await reply.refuse(error)
        except ClientLeft:
            return

    # Three entrances: the model's name is in the request, in the path, or fixed

    async def _inference(self, route: Route, visit: Visit) -> None:
        with await visit.generation.bodies.read(visit.receive) as body:
            asked = resolve.Asked(visit.method, visit.content_type, visit.scope["query_string"], body)
            target = await self._slices.run(
                resolve.resolve(
                    route, asked, visit.generation, visit.profile, self._state, websocket=visit.is_websocket
                )
            )
            try:
                with target.body:
                    await self._recorded(visit, target, route, visit.scope["path"], target.body)
            finally:
                target.release()

    async def _upstream(self, visit: Visit) -> None:
        door = await self._slices.run(doors.upstream(visit.scope, visit.generation, visit.profile))
        if isinstance(door, doors.Moved):
            await visit.reply.redirect(door.status, door.location)
            return
        target = door.target
        if target.local is not None and door.path_is_ignored:
            self._must_be_ready(target.local, "path matches upstream.ignorePaths")
        is_captured = door.route is not None and door.route.metered
        if is_captured or doors.needs_shortening(target, visit.generation):
            with await visit.generation.bodies.read(visit.receive) as body:
                asked = resolve.Asked(visit.method, visit.content_type, target.query, body)
                await self._slices.run(doors.shorten(target, asked, visit.generation))
                with target.body:
                    await self._recorded(visit, target, door.route, door.rest, target.body)
            return
        body_as_it_comes = doors.streamed_body(visit.scope, visit.receive)
        await self._recorded(visit, target, door.route, door.rest, body_as_it_comes)

    async def _comfyui(self, visit: Visit) -> None:
        target = doors.comfyui(visit.scope, visit.generation)
        if visit.scope["path"] != routes.COMFYUI.path:
            self._must_be_ready(target.local, "only /comfyui/ can start it")
        body_as_it_comes = doors.streamed_body(visit.scope, visit.receive)
        await self._recorded(visit, target, None, visit.scope["path"], body_as_it_comes)

    # From here on all go the same way

    async def _recorded(
        self, visit: Visit, target: Target, route: Route | None, path: str, payload: Payload
    ) -> None:
        """Serve, and leave exactly one record of it, whatever becomes of it, if the route has one."""
        if route is None:
            await self._serve(visit, target, payload, None)
            return
        cancellation = Cancellation(visit.reply.link.task)
        exchange = self._recorder.begin(
            method=visit.method,
            path=path,
            recorded_path=route.upstream_path,
            model=target.model,
            requested=target.requested,
            headers=visit.scope["headers"],
            remote_ip=visit.client_address,
            key=visit.caller.key,
            metered=route.metered,
            parts=route.stored,
            cancel=cancellation,
        )
        exchange.metadata.update(target.metadata)
        visit.reply.record(exchange)
        status: int | None = None
        error = ""
        try:
            await self._serve(visit, target, payload, exchange)
        except RequestError as refusal:
            error = refusal.message
            await visit.reply.refuse(refusal)
        except ClientLeft:
            status, error = CLIENT_LEFT, "the client left"
        except asyncio.CancelledError:
            if not cancellation.taken_back():
                status, error = CLIENT_LEFT, _why_cancelled(visit)
                raise
            error = "cancelled by the operator"
            await visit.reply.refuse(RequestError(Fault.CANCELLED, error))
        finally:
            self._recorder.end(exchange, status=status, error=error)

    async def _serve(self, visit: Visit, target: Target, payload: Payload, exchange: Exchange | None) -> None:
        if target.refusal is not None:
            raise target.refusal
        if target.peer is not None:
            await self._ask_peer(visit, target, payload, exchange)
            return
        model = target.local
        assert model is not None
        settings = visit.generation.config.models[model]
        if visit.is_websocket and settings.compat.ignore_websockets:
            loaded = self._must_be_ready(model, "ignored websocket requests cannot start it")
            await self._ask_local(visit, target, payload, exchange, loaded)
            return
        lease = self._dispatcher.lease(model)
        try:
            lease.ask()
            if not lease.granted:
                await self._wait(visit, target, lease, exchange)
            async with lease as loaded:
                if exchange is not None:
                    self._note_grant(visit, lease, exchange)
                await self._ask_local(visit, target, payload, exchange, loaded)
        finally:
            lease.abandon()
            if exchange is not None and lease.load_begun is not None:
                exchange.load_started = max(lease.load_begun, exchange.arrived)

    def _note_grant(self, visit: Visit, lease: Lease, exchange: Exchange) -> None:
        exchange.granted = self._clock()
        priority = visit.generation.priorities.get(lease.model)
        if priority is not None:
            exchange.metadata["fifo_priority"] = priority

    async def _wait(self, visit: Visit, target: Target, lease: Lease, exchange: Exchange | None) -> None:
        """Tell a client that can bear it what it is waiting for; the others wait in silence."""
        if exchange is None:
            return
        exchange.waiting(lambda: (Phase.LOADING if lease.is_loading else Phase.QUEUED, lease.reason))
        if not target.stream:
            return
        settings = visit.generation.config.models[lease.model]
        shows = target.shows_loading and self._state(lease.model) is not State.READY
        if settings.send_loading_state and shows:
            expected = partial(self._expected, lease.model)
            await LoadingText(lease.model, lease, visit.reply, expected).until_granted()
        elif settings.send_heartbeats:
            await heartbeats_until_granted(lease, visit.reply)

    async def _ask_local(
        self, visit: Visit, target: Target, payload: Payload, exchange: Exchange | None, loaded: Loaded
    ) -> None:
        settings = visit.generation.config.models[loaded.model]
        upstream = self.local.get(loaded, settings.timeouts)
        request = _request(visit, target, payload, headers.Local(visit.socket_address), exchange)
        await relay(upstream, request, visit.reply, exchange)

    async def _ask_peer(
        self, visit: Visit, target: Target, payload: Payload, exchange: Exchange | None
    ) -> None:
        peer = target.peer
        assert peer is not None
        if exchange is not None:
            exchange.granted = self._clock()
        towards = headers.Peer(peer.upstream.authority, peer.settings.api_key)
        request = _request(visit, target, payload, towards, exchange)
        try:
            await relay(peer.upstream, request, visit.reply, exchange)
        except UpstreamError as error:
            raise not_reached(error, peer.id) from error

    # What is known of models: snapshots, for choosing and for showing

    def _state(self, model: ModelId) -> State:
        return self._dispatcher.fleet.status(model).state

    def _must_be_ready(self, model: ModelId | None, reason: str) -> Loaded:
        """For requests that may use a model but not start it; RequestError (CONFLICT) if it is not."""
        assert model is not None
        if self._state(model) is not State.READY:
            raise RequestError(Fault.CONFLICT, f"model {model} is not loaded; {reason}")
        return self._dispatcher.loaded(model)

    def _expected(self, model: ModelId) -> Expectation:
        took = self._dispatcher.fleet.status(model).load_seconds
        return Expectation(self._dispatcher.load_begun(model), took)


def _request(
    visit: Visit,
    target: Target,
    payload: Payload,
    towards: headers.Local | headers.Peer,
    exchange: Exchange | None,
) -> UpstreamRequest:
    sent = headers.request_headers(
        visit.scope["headers"],
        towards,
        own_keys=visit.generation.own_keys,
        narrow_encoding=exchange is not None and exchange.metered,
    )
    if visit.reply.is_ours:
        # The head of this stream is out, and did not speak of any encoding.
        sent = [header for header in sent if header[0] != b"accept-encoding"]
        sent.append((b"accept-encoding", b"identity"))
    path = target.path
    return UpstreamRequest(
        visit.method.encode(),
        path + b"?" + target.query if target.query else path,
        sent,
        payload,
        upgrade=visit.is_websocket,
        on_informational=visit.reply.link.informational,
    )


def _why_cancelled(visit: Visit) -> str:
    return "the client left" if visit.reply.link.client_left else "the program ended"


async def _method_not_allowed(allowed: str, _: Scope, __: Receive, send: Send) -> None:
    await errors.send_plain(send, 405, "Method Not Allowed\n", [(b"allow", allowed.encode())])


async def _redirect(status: int, path: str, scope: Scope, _: Receive, send: Send) -> None:
    query = scope["query_string"].decode("latin-1")
    await errors.redirect(send, status, f"{path}?{query}" if query else path)
