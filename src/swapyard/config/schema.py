"""The settings of one generation: frozen values, named like the keys of the file in snake_case.

`Document` is what a file may say; `Config` is what it means: inherited values filled in, aliases generated,
old spellings gone, the router compiled.  Keys and defaults are those of llama-swap; the keys that only
swapyard knows are marked "own key", and their defaults change nothing.  Durations are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from swapyard.config.fields import (
    REPORTED,
    Duration,
    EntryText,
    Flag,
    Number,
    Seconds,
    Text,
    Texts,
    Whole,
    mismatch,
    refuse,
)
from swapyard.config.patterns import Pattern
from swapyard.config.routing_schema import DEFAULT_GROUP as DEFAULT_GROUP
from swapyard.config.routing_schema import GroupConfig as GroupConfig
from swapyard.config.routing_schema import Groups, MatrixSection, Routing, RoutingSection
from swapyard.config.routing_schema import MatrixConfig as MatrixConfig
from swapyard.config.section import Entries, Optionally, PlainEntries, Section, is_null
from swapyard.config.tree import Scalar
from swapyard.types import ModelId

COMFYUI_MODEL = ModelId("comfyui_auto")
"""The reserved model behind `/comfyui/`."""

DEFAULT_PROXY = "http://localhost:${PORT}"
PROTECTED_PARAMETER = "model"
_SESSION_HEADERS = ("X-Session-ID", "X-Litellm-Session-Id")
_IGNORED_PATHS = (r".*\.(js|json|css|png|gif|jpg|jpeg|ico|txt)$",)
_SECRET_HEADERS = ("Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie", "X-Api-Key")

INHERITED = frozenset({"healthCheckTimeout", "sendLoadingState", "sendHeartbeats"})
"""Keys that a model takes from the top level when it does not write them itself."""


class Timeouts(Section):
    """Of the connection to a model; 0 means no limit."""

    connect: Seconds = 30
    keepalive: Seconds = 30
    response_header: Seconds = 0
    tls_handshake: Seconds = 10
    expect_continue: Seconds = 1
    idle_conn: Seconds = 90


class PeerTimeouts(Timeouts):
    response_header: Seconds = 60


class Filters(Section):
    """Changes of the JSON body; `model` can be neither stripped nor set."""

    strip_params: Text = ""
    set_params: PlainEntries = Field(default_factory=dict)
    set_params_by_id: Annotated[Mapping[str, PlainEntries], Entries] = Field(default_factory=dict)

    @cached_property
    def strip_list(self) -> tuple[str, ...]:
        """The parameters to drop, sorted, each once."""
        names = {part.strip() for part in self.strip_params.split(",")}
        return tuple(sorted(names - {"", PROTECTED_PARAMETER}))

    @cached_property
    def set_list(self) -> tuple[tuple[str, Any], ...]:
        """The parameters to set, in sorted order."""
        return _settable(self.set_params)

    def by_id(self, requested: str) -> tuple[tuple[str, Any], ...]:
        """The parameters to set for the name that the client used, in sorted order; often none."""
        return _settable(self.set_params_by_id.get(requested, {}))


def _settable(params: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted((item for item in params.items() if item[0] != PROTECTED_PARAMETER), key=_first))


def _first(item: tuple[str, Any]) -> str:
    return item[0]


class ModelFilters(Filters):
    old_keys: ClassVar[frozenset[str]] = frozenset({"strip_params"})

    @classmethod
    def prepare(cls, data: dict[str, Any]) -> dict[str, Any]:
        old = data.pop("strip_params", None)
        present = data.get("stripParams")
        is_empty = isinstance(present, Scalar) and present.value == ""
        if old is not None and (present is None or is_null(present) or is_empty):
            data["stripParams"] = old
        return data


class Capabilities(Section):
    """What the model can do, as the model list tells it."""

    inputs: Texts = ()
    outputs: Texts = ()
    tools: Flag = False
    reranker: Flag = False
    context: Whole = 0

    @property
    def empty(self) -> bool:
        """Nothing is configured."""
        return not (self.inputs or self.outputs or self.tools or self.reranker or self.context)


class Compat(Section):
    ignore_websockets: Flag = False


class ModelConfig(Section):
    """A local model.

    `ttl` 0 means never; `concurrency_limit` 0 means none given.  `health_check_timeout`, `send_loading_state`
    and `send_heartbeats` are inherited from the top level unless written here.
    """

    cmd: Text = ""
    cmd_stop: Text = ""
    proxy: Text = DEFAULT_PROXY
    check_endpoint: Text = "/health"
    ttl: Seconds = -1
    unload_timeout: Seconds = 0
    health_check_timeout: Seconds = 120
    aliases: Texts = ()
    env: Texts = ()
    unlisted: Flag = False
    use_model_name: Text = ""
    name: Text = ""
    description: Text = ""
    concurrency_limit: Whole = 0
    send_loading_state: Flag = False
    # Own key: SSE comments keep a waiting streaming request's connection alive.
    send_heartbeats: Flag = False
    filters: ModelFilters = Field(default_factory=ModelFilters)
    macros: PlainEntries = Field(default_factory=dict)
    metadata: PlainEntries = Field(default_factory=dict)
    timeouts: Timeouts = Field(default_factory=Timeouts)
    compat: Compat = Field(default_factory=Compat)
    capabilities: Capabilities = Field(default_factory=Capabilities)

    @classmethod
    def prepare(cls, data: dict[str, Any]) -> dict[str, Any]:
        """A null inherits just as an absent key does."""
        return {key: value for key, value in data.items() if key not in INHERITED or not is_null(value)}


class PeerConfig(Section):
    """An upstream that somebody else supervises."""

    proxy: Text = ""
    models: Texts = ()
    api_key: Text = ""
    filters: Filters = Field(default_factory=Filters)
    timeouts: PeerTimeouts = Field(default_factory=PeerTimeouts)


def _is_a_profile(value: object) -> object:
    if isinstance(value, Scalar) and value.is_reported:
        raise PydanticCustomError(REPORTED, "reported before")
    if isinstance(value, Mapping | ProfileConfig) or (isinstance(value, Scalar) and value.is_null):
        return value
    raise refuse("profile must be a mapping with pins; the legacy list syntax is not supported")


class ProfileConfig(Section):
    """Rewrites of model names that can be switched on; the target "" disables the name."""

    description: Text = ""
    pins: Annotated[Mapping[str, EntryText], Entries] = Field(default_factory=dict)


class SelectorSettings(Section):
    spillover: Whole = 1


class SelectorConfig(Section):
    """A model name that is resolved anew for each request; `strategy` is pin, warm or spillover."""

    strategy: Text = ""
    targets: Texts = ()
    settings: SelectorSettings = Field(default_factory=SelectorSettings)
    name: Text = ""
    description: Text = ""
    unlisted: Flag = False
    metadata: PlainEntries = Field(default_factory=dict)


class StoreConfig(Section):
    """The durable activity log.  Own keys: `max_rows` and `max_age_days`, 0 for no limit."""

    path: Text = ""
    max_rows: Whole = 0
    max_age_days: Number = 0


class UiActivity(Section):
    session_id: Texts = _SESSION_HEADERS


class UiConfig(Section):
    activity: UiActivity = Field(default_factory=UiActivity)


class PerformanceConfig(Section):
    old_keys: ClassVar[frozenset[str]] = frozenset({"enable"})

    disabled: Flag = False
    every: Duration = 5


class OnStartup(Section):
    preload: Texts = ()


class Hooks(Section):
    on_startup: OnStartup = Field(default_factory=OnStartup)


class UpstreamConfig(Section):
    """`ignore_paths` are RE2 expressions, searched for anywhere in the path after the model."""

    ignore_paths: Texts = _IGNORED_PATHS

    @cached_property
    def _patterns(self) -> tuple[Pattern, ...]:
        return tuple(Pattern(text) for text in self.ignore_paths)

    def ignores(self, path: str) -> bool:
        """Whether a request for this path must not start a model."""
        return any(pattern.is_in(path) for pattern in self._patterns)


def _api_key(value: object) -> object:
    """Null is kept as the empty key, so that it is refused: an unset key must not open the door."""
    if isinstance(value, Scalar) and not value.is_reported:
        return value.text if not value.is_null else ""
    return value


def _api_keys(value: object) -> object:
    if isinstance(value, Scalar) and value.is_null and not value.is_reported:
        return ()
    if isinstance(value, Scalar) and value.is_reported:
        raise PydanticCustomError(REPORTED, "reported before")
    if value is not None and not isinstance(value, list | tuple):
        raise mismatch("a list", value, "list")
    return value


class Settings(Section):
    """The top-level keys that mean the same before and after loading."""

    health_check_timeout: Seconds = 120
    log_level: Text = "info"
    log_time_format: Text = ""
    log_to_stdout: Text = "proxy"
    log_requests: Flag = False
    metrics_max_in_memory: Whole = 1000
    # MiB; 0 or less for no captures.
    capture_buffer: Whole = 5
    # Own key: MiB, the longest request body whose model is looked for inside it; 0 for no limit.
    request_body_limit: Whole = 0
    # Own key: seconds that a client may be silent within a request body; 0 for no limit.
    request_body_timeout: Seconds = 60
    # Own key: headers whose values are not stored in captures, in any case.
    capture_redact: Texts = _SECRET_HEADERS
    store: Annotated[StoreConfig | None, Optionally] = None
    ui: UiConfig = Field(default_factory=UiConfig)
    performance: PerformanceConfig = Field(default_factory=PerformanceConfig)
    global_ttl: Seconds = 0
    unload_timeout: Seconds = 10
    start_port: Whole = 5800
    send_loading_state: Flag = False
    # Own key: see ModelConfig.
    send_heartbeats: Flag = False
    include_aliases_in_list: Flag = False
    macros: PlainEntries = Field(default_factory=dict)
    models: Annotated[Mapping[ModelId, ModelConfig], Entries] = Field(default_factory=dict)
    profiles: Annotated[Mapping[str, Annotated[ProfileConfig, BeforeValidator(_is_a_profile)]], Entries] = (
        Field(default_factory=dict)
    )
    selectors: Annotated[Mapping[str, SelectorConfig], Entries] = Field(default_factory=dict)
    hooks: Hooks = Field(default_factory=Hooks)
    # None when the key is absent: then there is no authentication.  Never empty once loaded.
    api_keys: Annotated[
        tuple[Annotated[Text, BeforeValidator(_api_key)], ...] | None, BeforeValidator(_api_keys)
    ] = None
    peers: Annotated[Mapping[str, PeerConfig], Entries] = Field(default_factory=dict)
    upstream: UpstreamConfig = Field(default_factory=UpstreamConfig)


class Document(Settings):
    """Everything that a file may say, with the old top-level spelling of the router's settings."""

    groups: Groups = Field(default_factory=dict)
    matrix: Annotated[MatrixSection | None, Optionally] = None
    routing: RoutingSection = Field(default_factory=RoutingSection)


class Config(Settings):
    """The settings of one generation; see the attributes of Settings."""

    routing: Routing = Field(default_factory=Routing)

    def priority(self, model: ModelId) -> int:
        """Of requests for this model under fifo: higher goes first; an entry by ID beats one by alias."""
        written = self.routing.scheduler.settings.fifo.priority
        if model in written:
            return written[model]
        settings = self.models.get(model)
        by_alias = (written[alias] for alias in (settings.aliases if settings else ()) if alias in written)
        return next(by_alias, 0)
