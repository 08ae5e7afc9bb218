"""The row of the activity log that an exchange leaves when it has ended."""

from __future__ import annotations

from swapyard.observe.activity import ActivityRow
from swapyard.observe.exchange import Exchange
from swapyard.observe.reply import shortened
from swapyard.observe.tokens import NOTHING, Tokens

TEXT_LIMIT = 1024
"""Characters of a text that are kept in a row: a client or an upstream may send a megabyte of each."""


def row_of(exchange: Exchange, tokens: Tokens, error: str, session: str = "") -> ActivityRow:
    """The row of an exchange that has ended; it gets its id when it is stored.

    `tokens` and `error` were read out of the reply; what the exchange itself says went wrong
    goes before what the reply says.
    """
    ended = exchange.ended if exchange.ended is not None else exchange.arrived
    prompt_per_s, generated_per_s = _measured(exchange, tokens, ended)
    return ActivityRow(
        id=0,
        created_at=exchange.ended_at,
        model=_clean(exchange.model),
        req_path=_clean(exchange.recorded_path),
        resp_content_type=_clean(exchange.content_type),
        resp_status_code=exchange.final_status,
        tokens=tokens,
        duration_ms=max(int((ended - exchange.arrived) * 1000), tokens.engine_ms),
        error_msg=shortened(exchange.error or error),
        metadata=exchange.metadata
        and {_clean(name): _clean(value) for name, value in exchange.metadata.items()},
        request_id=_clean(exchange.request_id),
        arrived_at=exchange.arrived_at,
        requested=_clean(exchange.requested),
        key=exchange.key,
        wait_reason=_clean(exchange.wait_reason),
        queue_ms=_queue_ms(exchange, ended),
        load_ms=_ms(exchange.load_started, exchange.granted or ended),
        relay_ms=_ms(exchange.upstream_asked, ended),
        first_byte_ms=_ms(exchange.arrived, exchange.first_byte),
        first_token_ms=_ms(exchange.arrived, exchange.first_token),
        resp_bytes=exchange.response_bytes,
        measured_prompt_per_s=prompt_per_s,
        measured_generated_per_s=generated_per_s,
        session=session,
    )


def _clean(text: str) -> str:
    """Text that every database and JSON reader takes, and of bounded length: no halves of surrogate pairs."""
    text = text[:TEXT_LIMIT]
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _queue_ms(exchange: Exchange, ended: float) -> float | None:
    """From the arrival until a load began for it, or it was granted, or it went away.

    None for a request that was refused at once.
    """
    for until in (exchange.load_started, exchange.granted, exchange.upstream_asked):
        if until is not None:
            return _ms(exchange.arrived, until)
    return None if exchange.waits is None else _ms(exchange.arrived, ended)


def _ms(start: float | None, end: float | None) -> float | None:
    if start is None or end is None:
        return None
    return max(end - start, 0.0) * 1000


def _measured(exchange: Exchange, tokens: Tokens, ended: float) -> tuple[float | None, float | None]:
    """Speeds by our own clock, for a reply whose engine counted tokens and named no speed.

    A stream shows where reading the prompt ends: at the first token.  Generation then takes
    one token less than were generated, the first being there already.  A reply in one piece
    does not show it; its output over the whole time is a lower bound of the speed.
    """
    asked, first = exchange.upstream_asked, exchange.first_token
    if tokens == NOTHING or asked is None:
        return None, None
    prompt: float | None = None
    generated: float | None = None
    evaluated = tokens.input - max(tokens.cached, 0)
    if tokens.prompt_per_s <= 0 and first is not None and first > asked and evaluated > 0:
        prompt = evaluated / (first - asked)
    if tokens.generated_per_s <= 0 and tokens.output > 0:
        if first is not None and ended > first and tokens.output > 1:
            generated = (tokens.output - 1) / (ended - first)
        elif first is None and ended > asked:
            generated = tokens.output / (ended - asked)
    return prompt, generated
