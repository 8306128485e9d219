"""Limits on the request path: admits or refuses a call, writes the limit headers, and settles what the call used."""

import math
from collections.abc import Iterator
from typing import Final, NoReturn

import msgspec

from ai_gateway.accounting.tokens import TokenAccounting
from ai_gateway.catalog.catalog import ServedModel
from ai_gateway.errors import RateLimited
from ai_gateway.exchange import Caller, Exchange
from ai_gateway.limits.admission import Counts, Grant, LimitExceeded
from ai_gateway.limits.estimates import Guess
from ai_gateway.limits.headers import limit_headers, remaining_by_kind
from ai_gateway.limits.limiter import AdmissionRequest, Limiter
from ai_gateway.limits.rates import WORDS
from ai_gateway.telemetry import names
from ai_gateway.telemetry.request_metrics import caller_label
from ai_gateway.telemetry.sample import Sample
from ai_gateway.telemetry.series import counters

# A used-up budget refills too late for a client's own retries.
LONGEST_RETRY_SECONDS: Final = 3600.0
MOST_CALLERS: Final = 1000  # in metrics


class Admitted(msgspec.Struct, frozen=True):
    """An admitted call: its estimated use, and its grant if any limit applies to it."""

    guess: Guess
    grant: Grant | None


class AdmissionControl:
    """Asks the limiter for the request path. Changed by calls; `samples` has the numbers."""

    def __init__(self, limiter: Limiter, counting: TokenAccounting) -> None:
        self._limiter = limiter
        self._counting = counting
        self._refusals = counters()
        self._last: dict[str, Counts] = {}  # by caller label

    def concerns(self, caller: Caller) -> bool:
        """Whether a limit may apply to a call of this caller."""
        return self._limiter.is_on or caller.allowance is not None

    async def begin(self, exchange: Exchange, longest_seconds: float, *, is_large: bool) -> Grant | None:
        """Asks the limits of the caller and its tenant before the body has come. Raises RateLimited.

        A large body is charged at once, as one request: a call for a model that does not exist costs it too. A small
        one is charged later; this only refuses it if its limits are used up.
        """
        ask = AdmissionRequest(exchange.caller, None, 1, longest_seconds)
        verdict = await self._limiter.admit(ask) if is_large else self._limiter.preview(ask)
        if isinstance(verdict, LimitExceeded):
            exchange.reply_headers += limit_headers(verdict.counts)
            self._refuse(exchange, verdict, 0)
        return verdict

    async def admit(self, exchange: Exchange, entry: ServedModel, longest_seconds: float) -> Admitted:
        """Charges the call to its limits. Raises RateLimited. Adds the limit headers to the exchange."""
        guess = self._counting.guess(exchange)
        verdict = await self._limiter.admit(AdmissionRequest(exchange.caller, entry.id, guess.tokens, longest_seconds))
        if verdict is None:
            return Admitted(guess, None)
        exchange.reply_headers += limit_headers(verdict.counts)
        label = caller_label(exchange.caller)
        if label in self._last or len(self._last) < MOST_CALLERS:
            self._last[label] = verdict.counts
        if isinstance(verdict, LimitExceeded):
            self._refuse(exchange, verdict, guess.tokens)
        exchange.tokens.counted = guess.tokens
        return Admitted(guess, verdict)

    def _refuse(self, exchange: Exchange, exceeded: LimitExceeded, tokens: int) -> NoReturn:
        label = caller_label(exchange.caller)
        self._refusals.at(label, f"{exceeded.rule.holder}_{exceeded.kind}").value += 1
        exchange.outcome.reason = f"refused by {exceeded.kind} of {exceeded.rule.scope}, {tokens} tokens asked"
        raise _error(exceeded)

    def count(self, exchange: Exchange, admitted: Admitted | None = None) -> None:
        """Counts the tokens of a finished answer, for limits and records."""
        self._counting.close(exchange, None if admitted is None else admitted.guess)

    def settle(self, admitted: Admitted | None, exchange: Exchange) -> None:
        """Settles a call that is over, in whatever way it ended."""
        try:
            self.count(exchange, admitted)
        finally:
            if admitted is not None and admitted.grant is not None:
                admitted.grant.settle(_used(exchange))

    def samples(self) -> Iterator[Sample]:
        """Disbelieved counts, refused calls, and what each recent caller has left."""
        yield from self._counting.samples()
        if not self._limiter.is_on and not self._last:
            return
        yield Sample(names.LIMIT_FALLBACKS, self._limiter.fallbacks)
        yield Sample(names.LIMIT_GATEWAYS, 1 if self._limiter.is_shared else self._limiter.gateways)
        yield from (Sample(names.LIMIT_REFUSALS, counter.value, labels) for labels, counter in self._refusals.items())
        for label, counts in self._last.items():
            left = remaining_by_kind(counts, self._limiter.instant() if counts.are_live else counts.instant)
            yield from (Sample(names.LIMIT_REMAINING, one.remaining, (label, kind)) for kind, one in left.items())


def _used(exchange: Exchange) -> int:
    """The tokens that the call used: Ollama's count, else the gateway's."""
    usage = exchange.tokens.usage
    return (exchange.tokens.counted or 0) if usage is None else usage.input_tokens + usage.output_tokens


def _error(exceeded: LimitExceeded) -> RateLimited:
    whole, share = (getattr(one, exceeded.kind) for one in (exceeded.rule.rates.whole, exceeded.rule.rates.share))
    part = "" if whole == share else f" (this gateway's share: {share})"
    wait = math.ceil(exceeded.wait_seconds * 1000) / 1000
    error = RateLimited(
        f"You reached a limit: {WORDS[exceeded.kind]} of {exceeded.rule}: {whole}{part}. Try again in {wait:g} s."
    )
    error.retry_after = wait
    if wait > LONGEST_RETRY_SECONDS:
        error.should_retry = False
    return error
