"""The walk of one request through the data plane: let in, resolved, leased, relayed, recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial

from swapyard.dispatcher import Dispatcher, Lease, Loaded
from swapyard.errors import ClientDisconnected, Fault, RequestError, UpstreamError
from swapyard.observe.activity import CLIENT_LEFT
from swapyard.observe.exchange import Exchange, Phase
from swapyard.observe.recorder import Recorder
from swapyard.proxy import doors, headers, resolve, routes
from swapyard.proxy.body import Body
from swapyard.proxy.doors import Door
from swapyard.proxy.generation import Generation
from swapyard.proxy.loading import Expectation, LoadingText, heartbeats_until_granted
from swapyard.proxy.local import LocalUpstreams
from swapyard.proxy.relay import not_reached, relay
from swapyard.proxy.reply import ModelReply
from swapyard.proxy.resolve import Target
from swapyard.proxy.routes import MethodNotAllowed, Route
from swapyard.proxy.sending import Payload
from swapyard.proxy.slices import Slices
from swapyard.proxy.upstreams import UpstreamRequest
from swapyard.proxy.visit import Visit
from swapyard.types import ModelId, State
from swapyard.web.messages import Handler, Reply, Request

Enter = Callable[[Visit], Awaitable[None]]

CLIENT_DISCONNECTED = "client disconnected"


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
        self._inferences: dict[tuple[str, str], Handler] = {
            (method, row.path): partial(self._let_in, partial(self._inference, row))
            for row in routes.ROUTES
            for method in row.methods
        }

    def find(self, request: Request) -> Handler | None:
        """Who serves this request; None for the paths of the control plane."""
        inference = self._inferences.get((request.method, request.path))
        if inference is not None:
            return inference
        enter = self._entrance(request)
        return None if enter is None else partial(self._let_in, enter)

    def _entrance(self, request: Request) -> Enter | None:
        row = routes.find(request.method, request.path)
        if isinstance(row, MethodNotAllowed):
            return partial(_method_not_allowed, row.allowed)
        # Only what is not in the table word for word can be in need of cleaning.
        moved = routes.redirect(request.method, request.raw_path.decode("latin-1"))
        if moved is not None:
            return partial(_redirect, moved.status, moved.path)
        if row is None:
            return None
        return self._upstream if row is routes.UPSTREAM else self._comfyui

    async def _let_in(self, enter: Enter, request: Request, reply: Reply) -> None:
        """Whoever has no business here is refused before anything is read."""
        answer = ModelReply(request, reply)
        generation, profile = self.generation, self.profile
        try:
            caller = generation.keys.admit(request.headers)
            await enter(Visit(request, answer, generation, profile, caller))
        except RequestError as error:
            await answer.refuse(error)

    # Three entrances: the model's name is in the request, in the path, or fixed

    def _inference(self, route: Route, visit: Visit) -> Awaitable[None]:
        exchange = self._begin(visit, route, visit.request.path)
        return self._recorded(visit, exchange, self._named_within(route, visit, exchange))

    async def _named_within(self, route: Route, visit: Visit, exchange: Exchange) -> None:
        request, generation = visit.request, visit.generation
        with generation.bodies.at_hand(request) or await self._received(visit, exchange) as body:
            asked = resolve.Asked(request.method, visit.content_type, request.query, body)
            target = await self._slices.run(
                resolve.resolve(
                    route, asked, generation, visit.profile, self._state, websocket=request.wants_websocket
                )
            )
            try:
                with target.body:
                    _identified(exchange, target)
                    await self._serve(visit, target, target.body, exchange)
            finally:
                target.release()

    async def _upstream(self, visit: Visit) -> None:
        door = await self._slices.run(doors.upstream(visit.request, visit.generation, visit.profile))
        if isinstance(door, doors.Moved):
            visit.reply.redirect(door.status, door.location)
            return
        route = door.route
        exchange = None if route is None else self._begin(visit, route, door.rest)
        await self._recorded(visit, exchange, self._named_by_path(door, visit, exchange))

    async def _named_by_path(self, door: Door, visit: Visit, exchange: Exchange | None) -> None:
        target, request, generation = door.target, visit.request, visit.generation
        if target.local is not None and door.path_is_ignored:
            self._must_be_ready(target.local, "path matches upstream.ignorePaths")
        is_captured = door.route is not None and door.route.metered
        if is_captured or doors.needs_shortening(target, generation):
            with generation.bodies.at_hand(request) or await self._received(visit, exchange) as body:
                asked = resolve.Asked(request.method, visit.content_type, target.query, body)
                await self._slices.run(doors.shorten(target, asked, generation))
                with target.body:
                    _identified(exchange, target)
                    await self._serve(visit, target, target.body, exchange)
            return
        _identified(exchange, target)
        body_as_it_comes = doors.streamed_body(request, generation.bodies.timeout)
        await self._serve(visit, target, body_as_it_comes, exchange)

    async def _comfyui(self, visit: Visit) -> None:
        target = doors.comfyui(visit.request, visit.generation)
        if visit.request.path != routes.COMFYUI.path:
            self._must_be_ready(target.local, "only /comfyui/ can start it")
        body_as_it_comes = doors.streamed_body(visit.request, visit.generation.bodies.timeout)
        await self._recorded(visit, None, self._serve(visit, target, body_as_it_comes, None))

    # From here on all go the same way

    def _begin(self, visit: Visit, route: Route, path: str) -> Exchange:
        request = visit.request
        exchange = self._recorder.begin(
            method=request.method,
            path=path,
            recorded_path=route.upstream_path,
            headers=request.headers,
            remote_ip=visit.client_address,
            key=visit.caller.key,
            metered=route.metered,
            parts=route.stored,
            cancel=visit.cancel,
        )
        visit.reply.record(exchange)
        return exchange

    async def _recorded(
        self, visit: Visit, exchange: Exchange | None, work: Coroutine[None, None, None]
    ) -> None:
        """Serve, and leave exactly one record of it, whatever becomes of it, if there is an exchange."""
        status: int | None = None
        error = ""
        try:
            await work
        except RequestError as refusal:
            error = refusal.message
            await visit.reply.refuse(refusal)
            if refusal.fault is Fault.NO_MODEL and exchange is not None:
                self._recorder.forget(exchange)
        except ClientDisconnected:
            status, error = CLIENT_LEFT, CLIENT_DISCONNECTED
        except asyncio.CancelledError:
            cause = visit.request.cause_of_end()
            if cause is None:
                disconnected = visit.request.client_disconnected
                status, error = CLIENT_LEFT, CLIENT_DISCONNECTED if disconnected else "the program ended"
                raise
            error = cause.message
            await visit.reply.refuse(cause)
        finally:
            if exchange is not None:
                self._recorder.end(exchange, status=status, error=error)

    async def _received(self, visit: Visit, exchange: Exchange | None) -> Body:
        """The body of a request of which more has yet to come, or whose body is long."""
        if exchange is not None and not visit.request.is_complete:
            exchange.receiving()
        return await visit.generation.bodies.read(visit.request)

    async def _serve(self, visit: Visit, target: Target, payload: Payload, exchange: Exchange | None) -> None:
        if target.refusal is not None:
            raise target.refusal
        if target.peer is not None:
            await self._ask_peer(visit, target, payload, exchange)
            return
        model = target.local
        assert model is not None
        settings = visit.generation.config.models[model]
        if visit.request.wants_websocket and settings.compat.ignore_websockets:
            self._must_be_ready(model, "ignored websocket requests cannot start it")
            async with self._dispatcher.guest(model) as loaded:
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

    def _must_be_ready(self, model: ModelId | None, reason: str) -> None:
        """For requests that may use a model but not start it; RequestError (CONFLICT) if it is not."""
        assert model is not None
        if self._state(model) is not State.READY:
            raise RequestError(Fault.CONFLICT, f"model {model} is not loaded; {reason}")

    def _expected(self, model: ModelId) -> Expectation:
        took = self._dispatcher.fleet.status(model).load_seconds
        return Expectation(self._dispatcher.load_begun(model), took)


def _identified(exchange: Exchange | None, target: Target) -> None:
    if exchange is not None:
        exchange.metadata.update(target.metadata)
        exchange.identified(target.model, target.requested)


def _request(
    visit: Visit,
    target: Target,
    payload: Payload,
    towards: headers.Local | headers.Peer,
    exchange: Exchange | None,
) -> UpstreamRequest:
    sent = headers.request_headers(
        visit.request.headers,
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
        visit.request.method.encode(),
        path + b"?" + target.query if target.query else path,
        sent,
        payload,
        upgrade=visit.request.wants_websocket,
        on_informational=visit.reply.informational,
    )


async def _method_not_allowed(allowed: str, visit: Visit) -> None:
    visit.reply.answer_plainly(405, "Method Not Allowed\n", [(b"allow", allowed.encode())])


async def _redirect(status: int, path: str, visit: Visit) -> None:
    query = visit.request.query.decode("latin-1")
    visit.reply.redirect(status, f"{path}?{query}" if query else path)
