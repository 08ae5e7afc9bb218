"""The model list as clients see it: which records, in which order, with which members."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from swapyard.config.names import LocalModel, Names
from swapyard.config.schema import Capabilities, Config, ModelConfig, SelectorConfig
from swapyard.types import ModelId, State

StateOf = Callable[[ModelId], State]
Record = dict[str, Any]

# Of the user's metadata these give way to what the capabilities say.
_CAPABILITY_KEYS = frozenset({"architecture", "capabilities", "supported_parameters", "context_length"})


def records(
    config: Config, names: Names, profile: str | None, state_of: StateOf, *, created: int
) -> list[Record]:
    """Every record of `/v1/models`, ascending by id in byte order; `created` is epoch seconds."""
    rows: list[Record] = []
    for model, settings in config.models.items():
        if not settings.unlisted:
            rows += _local(ModelId(model), settings, config.include_aliases_in_list, state_of)
    for peer, peer_settings in config.peers.items():
        rows += [
            _record(f"{peer}/{model}", name=f"{peer}: {model}", meta={"type": "peer", "peerID": peer})
            for model in dict.fromkeys(peer_settings.models)
        ]
    rows += [
        _selector(selector, settings, names, state_of)
        for selector, settings in config.selectors.items()
        if not settings.unlisted
    ]
    rows += _pins(config, names, profile)
    for row in rows:
        row["created"] = created
    return sorted(rows, key=lambda row: str(row["id"]).encode())


def _record(
    name_or_id: str,
    *,
    name: str = "",
    description: str = "",
    capabilities: Record | None = None,
    meta: Mapping[str, Any],
    loaded: bool = False,
) -> Record:
    record: Record = {"id": name_or_id, "object": "model", "created": 0, "owned_by": "llama-swap"}
    if name := name.strip():
        record["name"] = name
    if description := description.strip():
        record["description"] = description
    record |= capabilities or {}
    record["meta"] = {"llamaswap": dict(meta)}
    if context := record.get("context_length"):
        record["meta"]["n_ctx"] = context
    record["status"] = {"value": "loaded" if loaded else "unloaded"}
    return record


def _local(model: ModelId, settings: ModelConfig, with_aliases: bool, state_of: StateOf) -> Iterator[Record]:
    about = capabilities(settings.capabilities)
    metadata = _metadata(settings.metadata, bool(about))
    aliases = [alias for alias in settings.aliases if alias.strip()]

    def record(listed: str, meta: Mapping[str, Any]) -> Record:
        return _record(
            listed,
            name=settings.name,
            description=settings.description,
            capabilities=about,
            meta={**metadata, **meta},
            loaded=state_of(model) not in (State.STOPPED, State.SHUTDOWN),
        )

    yield record(
        model, {"type": "model", **({"aliases": list(settings.aliases)} if settings.aliases else {})}
    )
    if with_aliases:
        for alias in aliases:
            yield record(alias.strip(), {"type": "alias", "modelID": model})


def _metadata(metadata: Mapping[str, Any], has_capabilities: bool) -> Record:
    owned = _CAPABILITY_KEYS if has_capabilities else frozenset()
    return {key: value for key, value in metadata.items() if key not in owned}


def _selector(selector: str, settings: SelectorConfig, names: Names, state_of: StateOf) -> Record:
    meta: Record = {"type": "selector", "strategy": settings.strategy, "targets": list(settings.targets)}
    if settings.strategy == "spillover":
        meta["spillover"] = settings.settings.spillover
    counted = settings.targets[:1] if settings.strategy == "pin" else settings.targets
    found = (names.resolve(target) for target in counted)
    loaded = any(
        state_of(model.model) in (State.READY, State.STARTING)
        for model in found
        if isinstance(model, LocalModel)
    )
    return _record(
        selector,
        name=settings.name,
        description=settings.description,
        meta={**settings.metadata, **meta},
        loaded=loaded,
    )


def _pins(config: Config, names: Names, profile: str | None) -> list[Record]:
    """Names that exist only because the active profile pins them to something."""
    if profile is None or profile not in config.profiles:
        return []
    return [
        _record(pin, meta={"type": "profile"})
        for pin, target in config.profiles[profile].pins.items()
        if target and names.resolve(pin) is None and pin not in config.selectors
    ]


def capabilities(configured: Capabilities) -> Record:
    """`architecture`, `capabilities`, `supported_parameters`, `context_length`: those that say something."""
    if configured.empty:
        return {}
    inputs, outputs = list(configured.inputs), list(configured.outputs)
    architecture: Record = {}
    if inputs:
        architecture["input_modalities"] = inputs
    if outputs:
        architecture["output_modalities"] = outputs
    if inputs and outputs:
        architecture["modality"] = f"{'+'.join(inputs)}->{'+'.join(outputs)}"
    abilities = {
        "vision": "image" in inputs,
        "audio_transcriptions": "audio" in inputs and "text" in outputs,
        "audio_speech": "text" in inputs and "audio" in outputs,
        "image_generation": "text" in inputs and "image" in outputs,
        "image_to_image": "image" in inputs and "image" in outputs,
        "function_calling": configured.tools,
        "reranker": configured.reranker,
    }
    able = {name: True for name, has in abilities.items() if has}
    result: Record = {}
    if architecture:
        result["architecture"] = architecture
    if able:
        result["capabilities"] = able
    if configured.tools:
        result["supported_parameters"] = ["tools", "tool_choice"]
    if configured.context > 0:
        result["context_length"] = configured.context
    return result
