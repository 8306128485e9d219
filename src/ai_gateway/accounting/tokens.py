"""The tokens of each call: Ollama's count if it is possible, else the gateway's own. Only this module judges counts."""

import logging
from collections.abc import Callable, Iterator
from typing import Final

from ai_gateway.exchange import Caller, Exchange
from ai_gateway.limits.estimates import Estimates, Guess
from ai_gateway.limits.rules import address_scope, caller_scope, site_of
from ai_gateway.telemetry import names
from ai_gateway.telemetry.sample import Sample
from ai_gateway.telemetry.series import counters
from ai_gateway.wire.usage import Seen, Usage

log = logging.getLogger("ai_gateway.limits")

QUIET_SECONDS: Final = 60.0  # between two log lines about one endpoint
MOST_ENDPOINTS: Final = 1000


class TokenAccounting:
    """Closes the count of each call once. Changed by calls; `samples` counts the disbelieved usages.

    `clock` is the clock of the exchanges, in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._estimates = Estimates()
        self._disbelieved = counters()
        self._logged_at: dict[str, float] = {}  # by endpoint
        self._unlogged = 0

    def guess(self, exchange: Exchange) -> Guess:
        """An estimate of the tokens of a call, before it runs."""
        call = exchange.call
        assert call is not None, "a guess needs the call"
        return self._estimates.guess(
            exchange.ids.model_label or "",
            known_as(exchange.caller),
            exchange.tokens.prompt,
            exchange.tokens.limit,
            writes=call.operation.writes_tokens,
        )

    def close(self, exchange: Exchange, guess: Guess | None = None) -> None:
        """Closes the count when the answer is over, or never came.

        Afterwards `usage` is a possible count of Ollama's; without one, `tokens.counted` is the gateway's own count.
        `guess` is the estimate that limits charged, if any did.
        """
        if exchange.tokens.is_counted or exchange.call is None or exchange.ids.model_label is None:
            return
        exchange.tokens.is_counted, exchange.tokens.counted = True, None
        if not exchange.attempts:
            return
        usage, seen = exchange.tokens.usage, self._seen(exchange)
        if usage is not None and not seen.allows(usage):
            self._disbelieve(exchange, usage)
            usage = exchange.tokens.usage = None
        if usage is None:
            exchange.tokens.counted = _own_count(exchange, seen, guess or self.guess(exchange)) or None
        else:
            self._estimates.learn(exchange.ids.model_label, known_as(exchange.caller), exchange.tokens.prompt, usage)

    def samples(self) -> Iterator[Sample]:
        """Disbelieved usages, by model and endpoint."""
        yield from (Sample(names.DISBELIEVED, counter.value, at) for at, counter in self._disbelieved.items())

    def _seen(self, exchange: Exchange) -> Seen:
        return Seen(
            exchange.tokens.prompt,
            exchange.tokens.written or 0,
            self._clock() - exchange.attempts[-1].started_at,
            exchange.tokens.limit,
            exchange.tokens.context,
            is_many_texts=exchange.call is not None and exchange.call.operation.prompt_kind == "texts",
        )

    def _disbelieve(self, exchange: Exchange, usage: Usage) -> None:
        endpoint = exchange.attempts[-1].endpoint
        self._disbelieved.at(exchange.ids.model_label or "", endpoint).value += 1
        now = self._clock()
        if now - self._logged_at.get(endpoint, -QUIET_SECONDS) < QUIET_SECONDS:
            self._unlogged += 1
            return
        if len(self._logged_at) >= MOST_ENDPOINTS:
            self._logged_at.clear()
        self._logged_at[endpoint] = now
        others, self._unlogged = self._unlogged, 0
        log.warning(
            "usage of %s on %s is not possible: %s; the gateway uses its own count (%d others since the last line)",
            *(exchange.ids.model_label, endpoint, _in_words(usage), others),
        )


def known_as(caller: Caller) -> str:
    """The caller whose habits a call shows: by its name, or by its address."""
    if caller.method != "none":
        return caller_scope(caller.method, caller.name)
    return address_scope(site_of(caller.address))


def _own_count(exchange: Exchange, seen: Seen, guess: Guess) -> int:
    """Tokens as the gateway can count them from outside.

    A cut stream counts the tokens that the client got. A client that left before a whole answer counts as if the model
    had computed all of it, up to what a model can write in that time: `max_tokens` is only the caller's word, and must
    not use up limits that it shares with others. A failed attempt costs nothing.
    """
    if exchange.tokens.written:
        limit = exchange.tokens.limit
        return guess.prompt + (exchange.tokens.written if limit is None else min(exchange.tokens.written, limit))
    if exchange.attempts[-1].failure is not None:
        return 0
    is_stream = exchange.call is not None and exchange.call.stream
    if is_stream or exchange.tokens.written is not None:
        return guess.prompt
    return guess.prompt + min(guess.output, seen.most_written)


def _in_words(usage: Usage) -> str:
    """The counts in a few words; Ollama may send numbers of any length."""
    if min(usage.input_tokens, usage.output_tokens) < 0:
        return "it holds no counts"
    return f"{_short(usage.input_tokens)} tokens read, {_short(usage.output_tokens)} written"


def _short(number: int) -> str:
    return str(number) if number < 10**18 else f"about 2^{number.bit_length() - 1}"
