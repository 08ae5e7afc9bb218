"""From what a request says to who answers it: a profile's pin, then selector, then model id, alias, peer."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from swapyard.config.names import LocalModel, PeerModel
from swapyard.config.schema import Filters
from swapyard.errors import Fault, RequestError
from swapyard.proxy import identify, rewrite
from swapyard.proxy.body import Body
from swapyard.proxy.generation import Generation, Peer
from swapyard.proxy.json_scan import Walk
from swapyard.proxy.routes import Route
from swapyard.proxy.selectors import Choice
from swapyard.types import ModelId, State

StateOf = Callable[[ModelId], State]

_NO_FILTERS = Filters()


class Asked(msgspec.Struct):
    """The parts of a request that say what is wanted; rewriting a name replaces them."""

    method: str
    content_type: str
    query: bytes
    body: Body


class Target:
    """Who is to answer, and what goes there.

    Exactly one of `local` and `peer` is set, unless `refusal` says why the request goes nowhere.  `requested`
    is the name after profile and selector; `model` is what is recorded.  Call `release` when the request has
    ended: a selector counts what it handed out.
    """

    __slots__ = (
        "body",
        "choice",
        "local",
        "metadata",
        "model",
        "path",
        "peer",
        "query",
        "refusal",
        "requested",
        "selector",
        "shows_loading",
        "stream",
    )

    def __init__(
        self, requested: str, model: str, stream: bool, path: bytes, query: bytes, body: Body
    ) -> None:
        self.requested = requested
        self.model = model
        self.stream = stream
        self.path = path
        self.query = query
        self.body = body
        self.local: ModelId | None = None
        self.peer: Peer | None = None
        self.selector = ""
        self.shows_loading = False
        self.refusal: RequestError | None = None
        self.choice: Choice | None = None
        self.metadata: dict[str, str] = {}

    def release(self) -> None:
        if self.choice is not None:
            self.choice.release()


def resolve(
    route: Route,
    asked: Asked,
    generation: Generation,
    profile: str | None,
    state_of: StateOf,
    *,
    websocket: bool = False,
) -> Walk[Target]:
    """The target of an inference request.

    RequestError when the request names no model (NO_MODEL), or names it impossibly (INVALID_REQUEST); every
    later problem is in `refusal`, because from there on the request is recorded whatever becomes of it.
    """
    said = yield from identify.identify(asked.method, asked.content_type, asked.query, asked.body.view())
    name = meant(generation, profile, said.model) if said.model else ""
    if not name:
        raise RequestError(Fault.NO_MODEL, "no model id could be identified")
    target = Target(name, name, said.stream, route.upstream_path.encode(), asked.query, asked.body)
    target.shows_loading = route.shows_loading
    try:
        _choose(target, generation, state_of, websocket)
        find(target, generation)
        yield from _edit(target, asked, generation, said.model or "")
    except RequestError as refusal:
        target.refusal = refusal
    except BaseException:
        # The client has gone in the middle of it.
        target.release()
        raise
    target.query, target.body = asked.query, asked.body
    # Nothing of it is looked at until it is sent, and that may be long.
    target.body.rest()
    return target


def meant(generation: Generation, profile: str | None, name: str) -> str:
    """What a request means by this name under the active profile; "" when the name is switched off.

    1. What the profile pins it to.  2. Itself, when somebody has it.  3. `profile:name`, an older form: what
    that profile makes of the name behind the colon, for this request alone.  4. Itself.
    """
    pinned = pin(generation, profile, name)
    if pinned is not None:
        return pinned
    asked_profile, colon, rest = name.partition(":")
    if not colon or asked_profile not in generation.config.profiles or exists(generation, name):
        return name
    pinned = pin(generation, asked_profile, rest)
    return rest if pinned is None else pinned


def pin(generation: Generation, profile: str | None, name: str) -> str | None:
    """What a profile replaces this name with; "" switches it off, None leaves it."""
    settings = generation.config.profiles.get(profile) if profile else None
    return None if settings is None else settings.pins.get(name)


def exists(generation: Generation, name: str) -> bool:
    """Whether a model, here or at a peer, an alias or a selector has exactly this name."""
    return name in generation.selectors or generation.names.resolve(name) is not None


def _rename(asked: Asked, name: str) -> Walk[None]:
    renamed = yield from identify.rename(
        asked.method, asked.content_type, asked.query, asked.body.view(), name
    )
    if renamed.query is not None:
        asked.query = bytes(renamed.query)
    if renamed.body is not None:
        asked.body = Body.of(renamed.body, asked.body)


def _choose(target: Target, generation: Generation, state_of: StateOf, websocket: bool) -> None:
    selector = generation.selectors.get(target.requested)
    if selector is None:
        return

    def state(name: str) -> State | None:
        found = generation.names.resolve(name)
        return state_of(found.model) if isinstance(found, LocalModel) else None

    def holds(name: str) -> bool:
        return not (websocket and ignores_websockets(generation, name))

    target.selector = target.metadata["selector"] = selector.name
    target.choice = selector.choose(state, holds=holds)
    target.requested = target.choice.target


def ignores_websockets(generation: Generation, name: str) -> bool:
    found = generation.names.resolve(name)
    return isinstance(found, LocalModel) and generation.config.models[found.model].compat.ignore_websockets


def find(target: Target, generation: Generation) -> None:
    """Set who answers; RequestError (UNKNOWN_MODEL) when nobody does."""
    found = generation.names.resolve(target.requested)
    if found is None:
        raise RequestError(Fault.UNKNOWN_MODEL, "no router for requested model")
    if isinstance(found, LocalModel):
        target.local = target.model = found.model
    else:
        target.peer = generation.peers[found.peer]


def _edit(target: Target, asked: Asked, generation: Generation, said: str) -> Walk[None]:
    """Make of the request what goes to the target: the name that it knows itself by, and its filters.

    `said` is the name that the request says now.
    """
    json = asked.method != "GET" and identify.is_json(asked.content_type)
    name, filters = target.requested, _NO_FILTERS
    if target.local is not None:
        settings = generation.config.models[target.local]
        filters = settings.filters
        if json or "multipart/form-data" in asked.content_type.lower():
            name = settings.use_model_name or name
    elif target.peer is not None:
        filters = target.peer.settings.filters
        name = bare_name(target, generation) or name
    if json:
        yield from _splice(asked, filters, target.requested, name if name != said else "")
    elif name != said:
        yield from _rename(asked, name)


def shorten_peer_name(target: Target, asked: Asked, generation: Generation) -> Walk[None]:
    """A peer knows its models by their bare names; a request that says another name is left alone."""
    bare = bare_name(target, generation)
    if bare is None:
        return
    try:
        said = yield from identify.identify(asked.method, asked.content_type, asked.query, asked.body.view())
    except RequestError:
        # Who answers is decided, and the rest is between client and upstream.
        return
    if said.model == target.requested:
        yield from _rename(asked, bare)


def bare_name(target: Target, generation: Generation) -> str | None:
    """What the target's peer calls the model; None when that is what it was called."""
    found = generation.names.resolve(target.requested)
    return found.model if isinstance(found, PeerModel) and found.model != target.requested else None


def _splice(asked: Asked, filters: Filters, requested: str, new_name: str) -> Walk[None]:
    if not (new_name or filters.strip_params or filters.set_params or filters.set_params_by_id):
        return
    spliced = yield from rewrite.apply_filters(
        asked.body.view(),
        use_model_name=new_name,
        strip=filters.strip_list,
        set_params=dict(filters.set_list),
        by_id=dict(filters.by_id(requested)),
    )
    if spliced is not None:
        asked.body = Body.of(spliced, asked.body)
