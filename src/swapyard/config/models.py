"""Models with everything filled in: inherited values, generated aliases, the reserved ComfyUI model."""

from __future__ import annotations

from typing import Any

from swapyard.config.findings import Findings
from swapyard.config.schema import COMFYUI_MODEL, Compat, Document, ModelConfig
from swapyard.config.tree import Path
from swapyard.types import ModelId

SHORTEST_HEALTH_CHECK = 15.0
DEFAULT_UNLOAD_TIMEOUT = 10.0
COMFYUI_CONCURRENCY = 50
WINDOWS_STOP = "taskkill /f /t /pid ${PID}"


def fill_in(document: Document, found: Findings, *, windows: bool) -> dict[ModelId, ModelConfig]:
    """The models of a document as they are meant, in the order of the file."""
    aliases = _all_aliases(document, found)
    return {
        model: settings.model_copy(update=_effective(document, model, settings, aliases[model], windows))
        for model, settings in document.models.items()
    }


def _all_aliases(document: Document, found: Findings) -> dict[ModelId, tuple[str, ...]]:
    """Explicit aliases as written; then, per model in byte order of ID, the keys of setParamsByID."""
    owner: dict[str, ModelId] = {}
    aliases = {model: list(settings.aliases) for model, settings in document.models.items()}
    for model, settings in document.models.items():
        for index, alias in enumerate(settings.aliases):
            path: Path = ("models", model, "aliases", index)
            if alias in owner:
                found.error(
                    path, f"duplicate alias {alias} found in model: {model}; model {owner[alias]} has it"
                )
            elif alias in document.models and alias != model:
                found.warn(path, f'alias "{alias}" is also the ID of a model, which always wins')
            owner.setdefault(alias, model)
    for model in sorted(document.models, key=str.encode):
        for key in document.models[model].filters.set_params_by_id:
            path = ("models", model, "filters", "setParamsByID", key)
            if key == model or owner.get(key) == model:
                continue
            if key in document.models:
                rule = f"model {model}: setParamsByID key '{key}' conflicts with an existing model ID"
                found.error(path, rule)
            elif key in owner:
                rule = f"model {model}: setParamsByID key makes a duplicate alias '{key}', which is one of "
                found.error(path, f"{rule}model {owner[key]}")
            else:
                owner[key] = model
                aliases[model].append(key)
    return {model: tuple(names) for model, names in aliases.items()}


def _effective(
    document: Document, model: ModelId, settings: ModelConfig, aliases: tuple[str, ...], windows: bool
) -> dict[str, Any]:
    written = settings.model_fields_set
    own_check = "health_check_timeout" in written
    check = settings.health_check_timeout if own_check else document.health_check_timeout
    changes: dict[str, Any] = {
        "aliases": aliases,
        "ttl": document.global_ttl if settings.ttl == -1 else settings.ttl,
        "unload_timeout": settings.unload_timeout or document.unload_timeout or DEFAULT_UNLOAD_TIMEOUT,
        "health_check_timeout": max(check, SHORTEST_HEALTH_CHECK),
    }
    for inherited in ("send_loading_state", "send_heartbeats"):
        if inherited not in written:
            changes[inherited] = getattr(document, inherited)
    if windows and "cmd_stop" not in written:
        changes["cmd_stop"] = WINDOWS_STOP
    if model == COMFYUI_MODEL:
        changes["concurrency_limit"] = max(settings.concurrency_limit, COMFYUI_CONCURRENCY)
        changes["compat"] = Compat(ignore_websockets=True)
    return changes
