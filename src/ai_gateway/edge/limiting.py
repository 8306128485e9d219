"""Limits on the request path: admits a call or refuses it, tells the client how it stands, settles what it used."""

import math
from collections.abc import Iterator
from typing import Final, NoReturn

import msgspec

from ai_gateway.catalog.catalog import Entry
from ai_gateway.edge.counting import Counting
from ai_gateway.errors import RateLimited
from ai_gateway.exchange import Caller, Exchange
from ai_gateway.limits.estimates import Guess
from ai_gateway.limits.headers import lefts, limit_headers
from ai_gateway.limits.limiter import Ask, Limiter
from ai_gateway.limits.rates import WORDS
from ai_gateway.limits.verdict import Counts, Grant, Refusal
from ai_gateway.telemetry import names
from ai_gateway.telemetry.reading import Reading
from ai_gateway.telemetry.request_metrics import caller_label
from ai_gateway.telemetry.series import counters

# A budget that is used up is there again too late for a client's own retries.
LONGEST_RETRY_SECONDS: Final = 3600.0
MOST_CALLERS: Final = 1000  # in metrics


class Admitted(msgspec.Struct, frozen=True):
    """A call that was admitted: what it holds, if any limit holds for it, and what it was thought to use."""

    guess: Guess
    grant: Grant | None


class Limiting:
    """Between the request path and the limiter. Changed by calls; `readings` tells what came of them."""

    def __init__(self, limiter: Limiter, counting: Counting) -> None:
        self._limiter = limiter
        self._counting = counting
        self._refusals = counters()
        self._last: dict[str, Counts] = {}  # by caller label

    def concerns(self, caller: Caller) -> bool:
        """Whether a limit may hold for a call of this caller; else nobody need ask."""
        return self._limiter.is_on or caller.allowance is not None

    async def begin(self, exchange: Exchange, longest_seconds: float, *, is_large: bool) -> Grant | None:
        """Asks the limits of the caller and its tenant before the body has come. Raises RateLimited.

        What a large body costs is charged for at once, as one request: its caller gets no second one by asking for what
        does not exist. Of a small one it is only looked whether it would be refused.
        """
        ask = Ask(exchange.caller, None, 1, longest_seconds)
        verdict = await self._limiter.admit(ask) if is_large else self._limiter.look(ask)
        if isinstance(verdict, Refusal):
            exchange.reply_headers += limit_headers(verdict.counts)
            self._refuse(exchange, verdict, 0)
        return verdict

    async def admit(self, exchange: Exchange, entry: Entry, longest_seconds: float) -> Admitted:
        """Charges the call to its limits. Raises RateLimited, with the headers of the answer on the exchange."""
        guess = self._counting.guess(exchange)
        verdict = await self._limiter.admit(Ask(exchange.caller, entry.id, guess.tokens, longest_seconds))
        if verdict is None:
            return Admitted(guess, None)
        exchange.reply_headers += limit_headers(verdict.counts)
        label = caller_label(exchange.caller)
        if label in self._last or len(self._last) < MOST_CALLERS:
            self._last[label] = verdict.counts
        if isinstance(verdict, Refusal):
            self._refuse(exchange, verdict, guess.tokens)
        exchange.tokens_counted = guess.tokens
        return Admitted(guess, verdict)

    def _refuse(self, exchange: Exchange, refusal: Refusal, tokens: int) -> NoReturn:
        label = caller_label(exchange.caller)
        self._refusals.at(label, f"{refusal.term.holder}_{refusal.kind}").value += 1
        exchange.story = f"refused by {refusal.kind} of {refusal.term.scope}, {tokens} tokens asked"
        raise _error(refusal)

    def count(self, exchange: Exchange, admitted: Admitted | None = None) -> None:
        """No more of the answer will come: what it took is known from here on, for whoever records it."""
        self._counting.close(exchange, None if admitted is None else admitted.guess)

    def settle(self, admitted: Admitted | None, exchange: Exchange) -> None:
        """The call is over, however it ended."""
        try:
            self.count(exchange, admitted)
        finally:
            if admitted is not None and admitted.grant is not None:
                admitted.grant.settle(_used(exchange))

    def readings(self) -> Iterator[Reading]:
        """What was not believed, what limits refused, and what the callers that called last have left."""
        yield from self._counting.readings()
        if not self._limiter.is_on and not self._last:
            return
        yield Reading(names.LIMIT_FALLBACKS, self._limiter.fallbacks)
        yield Reading(names.LIMIT_GATEWAYS, 1 if self._limiter.is_shared else self._limiter.gateways)
        yield from (Reading(names.LIMIT_REFUSALS, counter.value, labels) for labels, counter in self._refusals.items())
        for label, counts in self._last.items():
            left = lefts(counts, self._limiter.moment() if counts.are_live else counts.moment)
            yield from (Reading(names.LIMIT_REMAINING, one.remaining, (label, kind)) for kind, one in left.items())


def _used(exchange: Exchange) -> int:
    """Tokens that the call used: as Ollama counted them, else as the gateway did."""
    usage = exchange.usage
    return (exchange.tokens_counted or 0) if usage is None else usage.input_tokens + usage.output_tokens


def _error(refusal: Refusal) -> RateLimited:
    whole, share = (getattr(one, refusal.kind) for one in (refusal.term.rates.whole, refusal.term.rates.share))
    part = "" if whole == share else f", of which this gateway has {share}"
    wait = math.ceil(refusal.wait_seconds * 1000) / 1000
    error = RateLimited(
        f"The limit is reached: {WORDS[refusal.kind]} of {refusal.term}: {whole}{part}. Try again in {wait:g} s."
    )
    error.retry_after = wait
    if wait > LONGEST_RETRY_SECONDS:
        error.should_retry = False
    return error
