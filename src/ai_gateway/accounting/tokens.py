"""What each call took: as Ollama counted it where that can be, else as the gateway counted itself. Nothing else learns
or passes on what an answer says of its tokens."""

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

QUIET_SECONDS: Final = 60.0  # between two lines about one endpoint
MOST_ENDPOINTS: Final = 1000


class TokenAccounting:
    """Closes the count of each call once. Changed by calls; `readings` tells what was not believed.

    `clock` is in seconds, that of the exchanges.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._estimates = Estimates()
        self._disbelieved = counters()
        self._told_at: dict[str, float] = {}  # by endpoint
        self._untold = 0

    def guess(self, exchange: Exchange) -> Guess:
        """What a call may take, before it runs."""
        call = exchange.call
        assert call is not None, "whoever guesses has read the call"
        return self._estimates.guess(
            exchange.ids.model_label or "",
            known_as(exchange.caller),
            exchange.tokens.prompt,
            exchange.tokens.limit,
            writes=call.operation.writes_tokens,
        )

    def close(self, exchange: Exchange, guess: Guess | None = None) -> None:
        """The answer is over, or never came: from here on `usage` is what is believed, and without it
        `tokens_counted` is what the gateway counted. `guess` is what was reserved, if anything was."""
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
        """What was not believed, by model and endpoint."""
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
        if now - self._told_at.get(endpoint, -QUIET_SECONDS) < QUIET_SECONDS:
            self._untold += 1
            return
        if len(self._told_at) >= MOST_ENDPOINTS:
            self._told_at.clear()
        self._told_at[endpoint] = now
        others, self._untold = self._untold, 0
        log.warning(
            "usage of %s on %s is not believed: %s; the gateway's own count stands for it (%d others since the last "
            "line)",
            *(exchange.ids.model_label, endpoint, _in_words(usage), others),
        )


def known_as(caller: Caller) -> str:
    """Whose habits a call shows: those of its name, or of its address."""
    if caller.method != "none":
        return caller_scope(caller.method, caller.name)
    return address_scope(site_of(caller.address))


def _own_count(exchange: Exchange, seen: Seen, guess: Guess) -> int:
    """Tokens as far as they can be told from outside.

    Of a stream that was cut, those that were passed on; whoever leaves a whole answer behind has had all of it
    computed, as far as anyone knows, but for what no model writes in that time: `max_tokens` is the caller's own word,
    and limits that it shares with others would be used up by it. What an endpoint failed costs nothing.
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
    """Numbers of any length, short."""
    if min(usage.input_tokens, usage.output_tokens) < 0:
        return "it holds no counts"
    return f"{_short(usage.input_tokens)} tokens read, {_short(usage.output_tokens)} written"


def _short(number: int) -> str:
    return str(number) if number < 10**18 else f"about 2^{number.bit_length() - 1}"
