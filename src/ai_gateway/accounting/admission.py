"""What each call may take and what it took: limits are charged before it runs, and settled with its count at the end.

The count is Ollama's where it can be true, else the gateway's own.
"""

import logging
import math
from collections.abc import Callable, Iterator
from typing import Final, NoReturn

import msgspec

from ai_gateway.catalog.catalog import ServedModel
from ai_gateway.errors import RateLimited
from ai_gateway.exchange import Caller, Exchange
from ai_gateway.limits.admission import Counts, Grant, LimitExceeded
from ai_gateway.limits.estimates import Estimate, Estimates
from ai_gateway.limits.headers import limit_headers, remaining_by_kind
from ai_gateway.limits.limiter import AdmissionRequest, Limiter
from ai_gateway.limits.rates import WORDS
from ai_gateway.limits.rules import caller_scope, site_of
from ai_gateway.telemetry import names
from ai_gateway.telemetry.request_metrics import caller_label
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

    def estimate(self, exchange: Exchange) -> Estimate:
        """An estimate of the tokens of a call, before it runs."""
        call = exchange.call
        assert call is not None, "an estimate needs the call"
        return self._estimates.estimate(
            exchange.ids.model_label or "",
            known_as(exchange.caller),
            exchange.tokens.prompt,
            exchange.tokens.limit,
            writes=call.operation.writes_tokens,
        )

    def close(self, exchange: Exchange, estimate: Estimate | None = None) -> None:
        """Closes the count when the answer is over, or never came.

        Afterwards `usage` is a possible count of Ollama's; without one, `tokens.counted` is the gateway's own count.
        `estimate` is what limits charged, if any did.
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
            exchange.tokens.counted = _own_count(exchange, seen, estimate or self.estimate(exchange)) or None
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
    return site_of(caller.address)


def _own_count(exchange: Exchange, seen: Seen, estimate: Estimate) -> int:
    """Tokens as the gateway can count them from outside.

    A cut stream counts the tokens that the client got. A client that left before a whole answer counts as if the model
    had computed all of it, up to what a model can write in that time: `max_tokens` is only the caller's word, and must
    not use up limits that it shares with others. A failed attempt costs nothing.
    """
    if exchange.tokens.written:
        limit = exchange.tokens.limit
        return estimate.prompt + (exchange.tokens.written if limit is None else min(exchange.tokens.written, limit))
    if exchange.attempts[-1].failure is not None:
        return 0
    is_stream = exchange.call is not None and exchange.call.stream
    if is_stream or exchange.tokens.written is not None:
        return estimate.prompt
    return estimate.prompt + min(estimate.output, seen.most_written)


def _in_words(usage: Usage) -> str:
    """The counts in a few words; Ollama may send numbers of any length."""
    if min(usage.input_tokens, usage.output_tokens) < 0:
        return "it holds no counts"
    return f"{_short(usage.input_tokens)} tokens read, {_short(usage.output_tokens)} written"


def _short(number: int) -> str:
    return str(number) if number < 10**18 else f"about 2^{number.bit_length() - 1}"


# A used-up budget refills too late for a client's own retries.
LONGEST_RETRY_SECONDS: Final = 3600.0
MOST_CALLERS: Final = 1000  # in metrics


class Admitted(msgspec.Struct, frozen=True):
    """An admitted call: its estimated use, and its grant if any limit applies to it."""

    estimate: Estimate
    grant: Grant | None


class AdmissionControl:
    """Asks the limiter for the request path. Changed by calls; `samples` has the numbers."""

    def __init__(self, limiter: Limiter, counting: TokenAccounting) -> None:
        self._limiter = limiter
        self._counting = counting
        self._exceeded = counters()
        self._last: dict[str, Counts] = {}  # by caller label

    def concerns(self, caller: Caller) -> bool:
        """Whether a limit may apply to a call of this caller."""
        return self._limiter.is_on or caller.allowance is not None

    def estimate(self, exchange: Exchange) -> int:
        """The tokens that a call may use, for the order in which calls are served."""
        return self._counting.estimate(exchange).tokens

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
        estimate = self._counting.estimate(exchange)
        verdict = await self._limiter.admit(
            AdmissionRequest(exchange.caller, entry.id, estimate.tokens, longest_seconds)
        )
        if verdict is None:
            return Admitted(estimate, None)
        exchange.reply_headers += limit_headers(verdict.counts)
        label = caller_label(exchange.caller)
        if label in self._last or len(self._last) < MOST_CALLERS:
            self._last[label] = verdict.counts
        if isinstance(verdict, LimitExceeded):
            self._refuse(exchange, verdict, estimate.tokens)
        exchange.tokens.counted = estimate.tokens
        return Admitted(estimate, verdict)

    def _refuse(self, exchange: Exchange, exceeded: LimitExceeded, tokens: int) -> NoReturn:
        label = caller_label(exchange.caller)
        self._exceeded.at(label, f"{exceeded.rule.holder}_{exceeded.kind}").value += 1
        exchange.outcome.reason = f"refused by {exceeded.kind} of {exceeded.rule.scope}, {tokens} tokens asked"
        raise _error(exceeded)

    def count(self, exchange: Exchange, admitted: Admitted | None = None) -> None:
        """Counts the tokens of a finished answer, for limits and records."""
        self._counting.close(exchange, None if admitted is None else admitted.estimate)

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
        yield from (Sample(names.LIMIT_REFUSALS, counter.value, labels) for labels, counter in self._exceeded.items())
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
