"""Token counts and speeds out of what an engine reports about one request; pure."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from swapyard.observe.tokens import NOTHING, UNKNOWN, Report, Tokens

_MOST = 10**12
"""Larger numbers are nobody's token count; and millions of rows of them still add up in 64 bits."""


_LEAST_MS = 1e-6
"""Times below are as good as 0: nothing to divide by."""


class Counts(msgspec.Struct, frozen=True):
    """What a `usage` member says; None where it says nothing."""

    input: int | None = None
    output: int | None = None
    cached: int | None = None

    @property
    def empty(self) -> bool:
        return self.input is None and self.output is None and self.cached is None


def counts_of(usage: object) -> Counts:
    """Read a `usage` object of OpenAI's or Anthropic's shape; the first spelling present decides.

    Sources: OpenAI API reference (chat, completions, responses), Anthropic API reference (messages).
    """
    if not isinstance(usage, dict):
        return Counts()
    cached = _first(usage, "cache_read_input_tokens")
    if cached is None:
        cached = _nested(usage, "input_tokens_details", "cached_tokens")
    if cached is None:
        cached = _nested(usage, "prompt_tokens_details", "cached_tokens")
    return Counts(
        input=_first(usage, "prompt_tokens", "input_tokens"),
        output=_first(usage, "completion_tokens", "output_tokens"),
        cached=cached,
    )


def tokens_of(counts: Counts, timings: object, metrics: object) -> Tokens:
    """Join what the three reports say: llama.cpp's timings overrule usage, vLLM's metrics overrule both.

    Sources: llama.cpp tools/server/README.md ("timings"); vLLM per-request metrics.
    """
    tokens = Tokens(
        input=counts.input or 0,
        output=counts.output or 0,
        cached=UNKNOWN if counts.cached is None else counts.cached,
        drafted=UNKNOWN,
        accepted=UNKNOWN,
        prompt_per_s=UNKNOWN,
        generated_per_s=UNKNOWN,
    )
    if isinstance(timings, dict):
        tokens = _with_timings(tokens, timings)
    if isinstance(metrics, dict):
        tokens = _with_metrics(tokens, metrics)
    return tokens


def tokens_of_json(body: bytes, path: str) -> Tokens:
    """Read the cost out of a whole JSON reply; NOTHING if it is not JSON or does not say.

    `path` decides one case: `/infill` answers with a list whose last element counts.
    """
    try:
        if path.startswith("/infill") and body.lstrip()[:1] == b"[":
            last = msgspec.json.decode(body, type=list[msgspec.Raw])[-1]
            timings = msgspec.json.decode(last, type=Report).timings
            report = Report(timings=timings)
        else:
            report = msgspec.json.decode(body, type=Report)
    except (ValueError, IndexError, RecursionError):
        return NOTHING
    return tokens_of_report(report)


def tokens_of_report(report: Report) -> Tokens:
    """The cost that the top-level members of a reply state; a member that is null counts as stated."""
    if report.empty:
        return NOTHING
    return tokens_of(counts_of(report.usage), report.timings, report.metrics)


def whole(value: object) -> int:
    """A JSON value as an integer: truncated, numeric strings count, anything else is 0."""
    number = real(value)
    return int(number) if abs(number) <= _MOST else 0


def real(value: object) -> float:
    """A JSON value as a finite number by the same rules, without truncation."""
    if isinstance(value, int | float):
        try:
            number = float(value)
        except OverflowError:
            return 0.0
    elif isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return 0.0
    else:
        return 0.0
    return number if math.isfinite(number) else 0.0


def _with_timings(tokens: Tokens, timings: dict[str, Any]) -> Tokens:
    drafted, accepted = tokens.drafted, tokens.accepted
    if "draft_n" in timings and "draft_n_accepted" in timings:
        drafted, accepted = whole(timings["draft_n"]), whole(timings["draft_n_accepted"])
    return Tokens(
        input=whole(timings.get("prompt_n")),
        output=whole(timings.get("predicted_n")),
        cached=whole(timings["cache_n"]) if "cache_n" in timings else tokens.cached,
        drafted=drafted,
        accepted=accepted,
        prompt_per_s=real(timings.get("prompt_per_second")),
        generated_per_s=real(timings.get("predicted_per_second")),
        engine_ms=whole(real(timings.get("prompt_ms")) + real(timings.get("predicted_ms"))),
    )


def _with_metrics(tokens: Tokens, metrics: dict[str, Any]) -> Tokens:
    drafted, accepted = tokens.drafted, tokens.accepted
    speculative = metrics.get("speculative_decoding")
    if (
        isinstance(speculative, dict)
        and {"num_draft_tokens", "num_accepted_draft_tokens"} <= speculative.keys()
    ):
        drafted = whole(speculative["num_draft_tokens"])
        accepted = whole(speculative["num_accepted_draft_tokens"])
    prompt_per_s, generated_per_s = tokens.prompt_per_s, tokens.generated_per_s
    first_token_ms = real(metrics.get("time_to_first_token_ms"))
    if first_token_ms > _LEAST_MS:
        prompt_per_s = (tokens.input - max(tokens.cached, 0)) / (first_token_ms / 1000)
    between_tokens_ms = real(metrics.get("mean_itl_ms"))
    if between_tokens_ms > _LEAST_MS:
        generated_per_s = 1000 / between_tokens_ms
    return Tokens(
        input=tokens.input,
        output=tokens.output,
        cached=tokens.cached,
        drafted=drafted,
        accepted=accepted,
        prompt_per_s=prompt_per_s,
        generated_per_s=generated_per_s,
        engine_ms=tokens.engine_ms,
    )


def _first(members: dict[str, Any], *names: str) -> int | None:
    for name in names:
        if name in members:
            return whole(members[name])
    return None


def _nested(members: dict[str, Any], outer: str, inner: str) -> int | None:
    details = members.get(outer)
    return _first(details, inner) if isinstance(details, dict) else None
