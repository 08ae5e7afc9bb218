"""Rules about single values: ranges, words, addresses, the store's path.  No rule here looks up a name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from swapyard.config.findings import Findings
from swapyard.config.names import LONGEST_NAME_BYTES
from swapyard.config.parameters import validate_param_path
from swapyard.config.patterns import Pattern
from swapyard.config.ports import LAST_PORT
from swapyard.config.scalars import render
from swapyard.config.schema import Document, Filters, ModelConfig, PeerConfig, StoreConfig
from swapyard.config.sources import reason
from swapyard.config.tree import Path
from swapyard.config.urls import is_http, path_problem, url_problem
from swapyard.types import ModelId

MEDIA = ("text", "audio", "image")
LOG_TARGETS = ("proxy", "upstream", "both", "none")
SHORTEST_SAMPLING = 5.0

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def check_values(document: Document, found: Findings) -> None:
    """Check every value that can be judged by itself; touches the file system for `store.path`."""
    _check_globals(document, found)
    _check_api_keys(document.api_keys, found)
    _check_ignore_paths(document.upstream.ignore_paths, found)
    if document.store is not None:
        _check_store(document.store, found)
    for path, what, name in _names(document):
        _check_name(path, what, name, found)
    for model, settings in document.models.items():
        _check_model(model, settings, found)
        _check_filters(("models", model, "filters"), settings.filters, found)
    for name, peer in document.peers.items():
        _check_peer(("peers", name), peer, found)
        _check_filters(("peers", name, "filters"), peer.filters, found)


def _names(document: Document) -> Iterator[tuple[Path, str, str]]:
    """Every name that a file gives, with its place and what it is the name of."""
    path: Path
    for model, settings in document.models.items():
        yield ("models", model), "model ID", model
        for index, alias in enumerate(settings.aliases):
            yield ("models", model, "aliases", index), f"model {model}: alias", alias
        for key in settings.filters.set_params_by_id:
            yield ("models", model, "filters", "setParamsByID", key), f"model {model}: setParamsByID key", key
    for selector in document.selectors:
        yield ("selectors", selector), "selector ID", selector
    for profile, pins in document.profiles.items():
        yield ("profiles", profile), "profile name", profile
        for pin in pins.pins:
            yield ("profiles", profile, "pins", pin), f"profile {profile}: pin", pin
    for peer, peer_settings in document.peers.items():
        yield ("peers", peer), "peer ID", peer
        for index, model_name in enumerate(peer_settings.models):
            path = ("peers", peer, "models", index)
            yield path, "fully qualified peer model name", f"{peer}/{model_name}"
    for group in (*document.groups, *document.routing.router.settings.groups):
        path = ("groups",) if group in document.groups else ("routing", "router", "settings", "groups")
        yield (*path, group), "group name", group


def _check_name(path: Path, what: str, name: str, found: Findings) -> None:
    size = len(name.encode())
    if size > LONGEST_NAME_BYTES:
        found.error(path, f"{what} has {size} bytes; at most {LONGEST_NAME_BYTES} are possible")
    if _CONTROL.search(name):
        found.error(path, f'{what} "{name}" has control characters')


def _check_globals(document: Document, found: Findings) -> None:
    every = document.performance.every
    if every != 0 and every < SHORTEST_SAMPLING:
        found.error(
            ("performance", "every"), f"performance: every must be at least 5s, got {render(float(every))}s"
        )
    if not 1 <= document.start_port <= LAST_PORT:
        rule = f"startPort must be between 1 and {LAST_PORT}, got {document.start_port}"
        found.error(("startPort",), rule)
    if document.global_ttl < 0:
        found.error(("globalTTL",), f"globalTTL must be >= 0, got {document.global_ttl:g}")
    if document.unload_timeout < 0:
        found.error(("unloadTimeout",), f"unloadTimeout must be >= 0, got {document.unload_timeout:g}")
    if document.request_body_limit < 0:
        rule = f"requestBodyLimit must be >= 0 MiB, got {document.request_body_limit}"
        found.error(("requestBodyLimit",), rule)
    if document.request_body_timeout < 0:
        rule = f"requestBodyTimeout must be >= 0 s, got {document.request_body_timeout:g}"
        found.error(("requestBodyTimeout",), rule)
    if document.log_to_stdout not in LOG_TARGETS:
        rule = f'logToStdout must be one of: {", ".join(LOG_TARGETS)}; got "{document.log_to_stdout}"'
        found.error(("logToStdout",), rule)
    scheduler = document.routing.scheduler.settings
    for key, seconds in (("maxWait", scheduler.max_wait), ("queueTimeout", scheduler.queue_timeout)):
        if seconds < 0:
            path = ("routing", "scheduler", "settings", key)
            found.error(path, f"{key} must be >= 0 seconds, got {seconds:g}")


def _check_api_keys(keys: tuple[str, ...] | None, found: Findings) -> None:
    if keys == ():
        rule = "apiKeys is present but holds no key; remove it to switch authentication off"
        found.error(("apiKeys",), rule)
    for index, key in enumerate(keys or ()):
        if not key:
            found.error(("apiKeys", index), "empty api key found in apiKeys")
        elif _CONTROL.search(key):
            found.error(("apiKeys", index), f"apiKeys[{index}] cannot contain control characters")
        elif " " in key:
            found.error(("apiKeys", index), f"apiKeys[{index}] cannot contain spaces")


def _check_ignore_paths(patterns: tuple[str, ...], found: Findings) -> None:
    for index, pattern in enumerate(patterns):
        try:
            Pattern(pattern)
        except ValueError as error:
            rule = f'invalid regular expression "{pattern}": {error}'
            found.error(("upstream", "ignorePaths", index), rule)


def _check_filters(path: Path, filters: Filters, found: Findings) -> None:
    """Parameter names are paths into the JSON body; one that no request could follow is refused here."""
    for name in filters.strip_list:
        if rule := validate_param_path(name):
            found.error((*path, "stripParams"), f"{name}: {rule}")
    for name in filters.set_params:
        if rule := validate_param_path(name):
            found.error((*path, "setParams", name), rule)
    for requested, params in filters.set_params_by_id.items():
        for name in params:
            if rule := validate_param_path(name):
                found.error((*path, "setParamsByID", requested, name), rule)


def _check_store(store: StoreConfig, found: Findings) -> None:
    path = store.path
    rule = store_problem(path) if path.strip() else "store.path must not be empty"
    if rule:
        found.error(("store", "path"), rule)
    if store.max_rows < 0:
        found.error(("store", "maxRows"), f"maxRows must be >= 0, got {store.max_rows}")
    if store.max_age_days < 0:
        found.error(("store", "maxAgeDays"), f"maxAgeDays must be >= 0, got {store.max_age_days:g}")


def store_problem(path: str) -> str | None:
    """Why a database cannot be kept at this path; relative paths are relative to the working directory."""
    if os.path.isdir(path):
        return f"store.path: {path} is a directory; a file is needed"
    if os.path.exists(path):
        return None if os.access(path, os.W_OK) else f"store.path: {path} is not writable"
    try:
        os.stat(path)
    except FileNotFoundError:
        parent = os.path.dirname(path) or "."
        if os.path.isdir(parent) and os.access(parent, os.W_OK):
            return None
        return f"store.path: directory {parent} is missing or not writable"
    except (OSError, ValueError) as error:
        return f"store.path: {reason(error) if isinstance(error, OSError) else error}"
    return None


def _check_model(model: ModelId, settings: ModelConfig, found: Findings) -> None:
    at: Path = ("models", model)
    texts: list[tuple[Path, str]] = [((*at, "cmd"), settings.cmd), ((*at, "cmdStop"), settings.cmd_stop)]
    texts += [((*at, "env", index), entry) for index, entry in enumerate(settings.env)]
    for path, text in texts:
        if "\0" in text:
            found.error(path, f"model {model}: NUL cannot be handed to a process")
    if settings.ttl < -1:
        found.error((*at, "ttl"), f"model {model}: TTL must be -1 or more, got {settings.ttl:g}")
    if settings.unload_timeout < 0:
        rule = f"model {model}: unloadTimeout must be >= 0, got {settings.unload_timeout:g}"
        found.error((*at, "unloadTimeout"), rule)
    if wrong := url_problem(settings.proxy):
        found.error((*at, "proxy"), f'model {model}: invalid proxy URL "{settings.proxy}": {wrong}')
    elif not is_http(settings.proxy):
        found.warn((*at, "proxy"), f'"{settings.proxy}" is no http:// address; the model cannot be reached')
    endpoint = settings.check_endpoint
    if wrong := path_problem(endpoint):
        found.error((*at, "checkEndpoint"), f'model {model}: invalid checkEndpoint "{endpoint}": {wrong}')
    if not settings.cmd.strip():
        found.warn(at, f"model {model} has no cmd and will fail when it is asked for (empty command)")
    _check_capabilities(model, settings, found)


def _check_capabilities(model: ModelId, settings: ModelConfig, found: Findings) -> None:
    at: Path = ("models", model, "capabilities")
    capabilities = settings.capabilities
    for key, words in (("in", capabilities.inputs), ("out", capabilities.outputs)):
        for index, word in enumerate(words):
            if word not in MEDIA:
                rule = f'model {model}: capabilities.{key}: "{word}" is not one of {", ".join(MEDIA)}'
                found.error((*at, key, index), rule)
    if capabilities.context < 0:
        rule = f"model {model}: capabilities.context must be >= 0, got {capabilities.context}"
        found.error((*at, "context"), rule)


def _check_peer(at: Path, peer: PeerConfig, found: Findings) -> None:
    proxy = peer.proxy
    if _CONTROL.search(peer.api_key):
        found.error((*at, "apiKey"), "apiKey cannot contain control characters")
    if not proxy:
        found.error((*at, "proxy"), "proxy is required")
    elif rule := url_problem(proxy):
        found.error((*at, "proxy"), f'invalid peer proxy URL "{proxy}": {rule}')
    elif not is_http(proxy):
        found.warn((*at, "proxy"), f'"{proxy}" is no http:// address; the peer cannot be reached')
    if not peer.models:
        found.error((*at, "models"), "peer models can not be empty")
