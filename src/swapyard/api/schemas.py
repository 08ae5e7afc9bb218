"""The shapes of the control plane's answers, for the OpenAPI document and the types made from it."""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from pydantic import ConfigDict

# The standard library's is not enough for pydantic before Python 3.12.
from typing_extensions import TypedDict

from swapyard.observe.timestamps import rfc3339


def of_text(media: str) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route whose answer is text of this media type."""
    return {200: {"content": {media: {"schema": {"type": "string"}}}}}


def in_query(name: str, kind: str) -> dict[str, Any]:
    """A query parameter that is read leniently by hand, so that only the document knows its type."""
    schema = {"type": kind, **({"items": {"type": "string"}} if kind == "array" else {})}
    return {"name": name, "in": "query", "required": False, "schema": schema}


def instant(at: float | None) -> str | None:
    return None if at is None else rfc3339(at)


class ErrorFacts(TypedDict):
    message: str
    type: str
    param: None
    code: str


class ErrorEnvelope(TypedDict):
    """`src` tells our errors from an upstream's."""

    src: Literal["llama-swap"]
    error: ErrorFacts


class Message(TypedDict):
    msg: Literal["ok"]


class LoadedOrNot(TypedDict):
    value: Literal["loaded", "unloaded"]


class Architecture(TypedDict):
    input_modalities: NotRequired[list[str]]
    output_modalities: NotRequired[list[str]]
    modality: NotRequired[str]


class Capabilities(TypedDict):
    """What a model can do; what it cannot is left out."""

    vision: NotRequired[Literal[True]]
    audio_transcriptions: NotRequired[Literal[True]]
    audio_speech: NotRequired[Literal[True]]
    image_generation: NotRequired[Literal[True]]
    image_to_image: NotRequired[Literal[True]]
    function_calling: NotRequired[Literal[True]]
    reranker: NotRequired[Literal[True]]


class RecordFacts(TypedDict):
    """What kind of name this is and what it stands for, beside the user's own metadata."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    type: Literal["model", "alias", "peer", "selector", "profile"]
    aliases: NotRequired[list[str]]
    modelID: NotRequired[str]
    peerID: NotRequired[str]
    strategy: NotRequired[Literal["pin", "warm", "spillover"]]
    targets: NotRequired[list[str]]
    spillover: NotRequired[int]


class RecordMeta(TypedDict):
    llamaswap: RecordFacts
    n_ctx: NotRequired[int]


class ModelRecord(TypedDict):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    name: NotRequired[str]
    description: NotRequired[str]
    architecture: NotRequired[Architecture]
    capabilities: NotRequired[Capabilities]
    supported_parameters: NotRequired[list[str]]
    context_length: NotRequired[int]
    meta: RecordMeta
    status: LoadedOrNot


class ModelList(TypedDict):
    object: Literal["list"]
    data: list[ModelRecord]


class RunningModel(TypedDict):
    model: str
    state: Literal["starting", "ready", "stopping"]
    cmd: str
    proxy: str
    ttl: int
    name: str
    description: str


class Running(TypedDict):
    running: list[RunningModel]


class Memory(TypedDict):
    resident_bytes: int | None
    gpu: dict[str, int]


class ModelStatus(TypedDict):
    """A local model, or a peer's: those have a `peerID` and no state."""

    id: str
    name: str
    description: str
    state: Literal["stopped", "starting", "ready", "stopping", ""]
    unlisted: bool
    peerID: str
    aliases: NotRequired[list[str]]
    capabilities: NotRequired[Capabilities]
    context_length: NotRequired[int]


class Model(ModelStatus):
    """All that is known about a local model; of a peer's, nothing from here on is there."""

    cmd: NotRequired[str]
    proxy: NotRequired[str]
    port: NotRequired[int | None]
    pid: NotRequired[int | None]
    since: NotRequired[str | None]
    ttl: NotRequired[int]
    idle_deadline: NotRequired[str | None]
    in_flight: NotRequired[int]
    waiting: NotRequired[int]
    waiting_reasons: NotRequired[list[str]]
    memory: NotRequired[Memory | None]
    load_seconds: NotRequired[float | None]
    last_error: NotRequired[str]


class Version(TypedDict):
    version: str
    commit: str
    build_date: str


class Profile(TypedDict):
    id: str
    description: str
    pins: dict[str, str]


class Profiles(TypedDict):
    active: str | None
    profiles: list[Profile]


class ActiveProfile(TypedDict):
    active: str | None


class WantedProfile(TypedDict):
    """A profile's id; null or "" for none."""

    name: str | None


class Reload(TypedDict):
    changed: list[str]
    warnings: list[str]


class InflightDetails(TypedDict):
    """What the original does not tell; `wait_reason` is empty for a request that does not wait."""

    request_id: str
    session: str
    phase: Literal["receiving", "queued", "loading", "relaying"]
    wait_reason: str


class InflightRequest(TypedDict):
    id: str
    timestamp: str
    model: str
    req_path: str
    method: str
    req_headers: dict[str, str]
    remote_ip: str
    resp_headers: dict[str, str]
    resp_bytes: int
    elapsed_ms: int
    details: InflightDetails
    metadata: NotRequired[dict[str, str]]


class Inflight(TypedDict):
    requests: list[InflightRequest]


class Tokens(TypedDict):
    cache_tokens: int
    draft_tokens: int
    draft_acc_tokens: int
    input_tokens: int
    output_tokens: int
    prompt_per_second: float
    tokens_per_second: float


class ActivityDetails(TypedDict):
    """What the original does not record; milliseconds as measured here, null for what did not happen."""

    request_id: str
    arrived_at: str
    requested_model: str
    key: str
    session: str
    wait_reason: str
    queue_ms: float | None
    load_ms: float | None
    relay_ms: float | None
    first_byte_ms: float | None
    first_token_ms: float | None
    resp_bytes: int
    measured_prompt_per_second: float | None
    measured_tokens_per_second: float | None


class ActivityRow(TypedDict):
    id: int
    timestamp: str
    model: str
    req_path: str
    resp_content_type: str
    resp_status_code: int
    tokens: Tokens
    duration_ms: int
    has_capture: bool
    error_msg: NotRequired[str]
    metadata: NotRequired[dict[str, str]]
    details: NotRequired[ActivityDetails]


class ActivityPage(TypedDict):
    data: list[ActivityRow]
    page: int
    limit: int
    total: int
    total_pages: int


class Histogram(TypedDict):
    bins: list[int]
    min: float
    max: float
    binSize: float
    p50: float
    p95: float
    p99: float


class Statistics(TypedDict):
    total_requests: int
    total_input_tokens: int
    total_output_tokens: int
    total_cache_tokens: int
    prompt_histogram: Histogram | None
    gen_histogram: Histogram | None


class Capture(TypedDict):
    id: int
    req_path: str
    req_headers: dict[str, str] | None
    req_body: str | None
    resp_headers: dict[str, str] | None
    resp_body: str | None


class NetIo(TypedDict):
    name: str
    bytes_recv: int
    bytes_sent: int


class SystemSample(TypedDict):
    timestamp: str
    cpu_util_per_core: list[float]
    mem_total_mb: int
    mem_used_mb: int
    mem_free_mb: int
    swap_total_mb: int
    swap_used_mb: int
    load_avg_1: float | None
    load_avg_5: float | None
    load_avg_15: float | None
    net_io: list[NetIo] | None


class GpuSample(TypedDict):
    timestamp: str
    id: int
    name: str
    uuid: str
    temp_c: int | None
    vram_temp_c: int | None
    gpu_util_pct: float | None
    mem_util_pct: float | None
    mem_used_mb: int | None
    mem_total_mb: int | None
    fan_speed_pct: float | None
    power_draw_w: float | None


class Detector(TypedDict):
    name: str
    version: str


class HardwareCapture(TypedDict):
    scope: Literal["inference_host"]
    method: Literal["detected"]
    detector: Detector


class ProcessorArchitecture(TypedDict):
    name: str
    raw_name: str | None


class OperatingSystem(TypedDict):
    """`raw_family` is the platform's own word where the family is `other`."""

    family: Literal["linux", "macos", "windows", "freebsd", "other"]
    name: str | None
    version: str | None
    kernel: str | None
    raw_family: NotRequired[str]


class Environment(TypedDict):
    kind: str
    name: str | None
    version: str | None


class Processors(TypedDict):
    vendor: str | None
    model: str | None
    socket_count: int | None
    physical_core_count: int | None
    logical_thread_count: int | None


class MainMemory(TypedDict):
    capacity_bytes: int


class AcceleratorMemory(TypedDict):
    kind: Literal["dedicated", "unified", "shared_system", "unknown"]
    capacity_bytes: int | None


class Driver(TypedDict):
    name: str | None
    version: str | None


class Accelerator(TypedDict):
    index: int
    kind: Literal["gpu"]
    vendor: str | None
    model: str | None
    architecture: str | None
    memory: AcceleratorMemory
    driver: Driver | None
    power_limit_watts: float | None


class Hardware(TypedDict):
    """The machine in its published shape, schema version 1."""

    schema_version: Literal[1]
    captured_at: str
    capture: HardwareCapture
    architecture: ProcessorArchitecture
    operating_system: OperatingSystem
    environment: Environment
    cpu: Processors
    memory: MainMemory
    accelerators: list[Accelerator]


class Performance(TypedDict):
    enabled: bool
    sys_stats: NotRequired[list[SystemSample] | None]
    gpu_stats: NotRequired[list[GpuSample] | None]


YardSpan = TypedDict(
    "YardSpan",
    {
        "state": Literal["stopped", "starting", "ready", "stopping", "shutdown"],
        "from": str,
        "to": str | None,
        "reason": str,
    },
)


class YardCount(TypedDict):
    at: str
    count: int


class YardWaiting(YardCount):
    reason: str


class YardLane(TypedDict):
    model: str
    spans: list[YardSpan]
    serving: list[YardCount]
    waiting: list[YardWaiting]


class YardPicture(TypedDict):
    now: str
    since: str
    lanes: list[YardLane]


# The messages of /api/events: what the envelope's `data` holds, by its `type`


class LogData(TypedDict):
    source: Literal["proxy", "upstream"]
    data: str


class Recorded(TypedDict):
    id: int


class InflightSnapshot(TypedDict):
    """All of them, in place of what was told before; an empty list is left out."""

    operation: Literal["snapshot"]
    requests: NotRequired[list[InflightRequest]]


class InflightUpsert(TypedDict):
    operation: Literal["upsert"]
    request: InflightRequest


class InflightRemove(TypedDict):
    operation: Literal["remove"]
    id: str


class UiActivity(TypedDict):
    session_id: list[str]


class UiSettings(TypedDict):
    activity: UiActivity


class StateChange(TypedDict):
    model: str
    old: Literal["stopped", "starting", "ready", "stopping", "shutdown"]
    new: Literal["stopped", "starting", "ready", "stopping", "shutdown"]
    reason: str
    at: str


class Waiting(TypedDict):
    model: str
    count: int
    reason: str


class Preloaded(TypedDict):
    model: str
    success: bool


class Reloading(TypedDict):
    error: str | None


class Lost(TypedDict):
    lost: int


EVENTS: dict[str, Any] = {
    "logData": LogData,
    "modelStatus": list[ModelStatus],
    "uiConfig": UiSettings,
    "profileChanged": ActiveProfile,
    "inflight": InflightSnapshot | InflightUpsert | InflightRemove,
    "activity": Recorded,
    "stateChanged": StateChange,
    "waiting": Waiting,
    "modelPreloaded": Preloaded,
    "configReloaded": Reloading,
    "gap": Lost,
}
