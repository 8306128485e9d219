"""An allowance as one gateway counts it: its share of each limit, and what a call takes from it."""

import math
from typing import Final, Literal

import msgspec

from ai_gateway.exchange import Allowance

Kind = Literal["rpm", "tpm", "concurrent", "tokens_per_day"]
WORDS: Final[dict[Kind, str]] = {
    "rpm": "requests per minute",
    "tpm": "tokens per minute",
    "concurrent": "concurrent requests",
    "tokens_per_day": "tokens per day",
}

MINUTE_SECONDS: Final = 60.0
DAY_SECONDS: Final = 86400


class Rates(msgspec.Struct, frozen=True):
    """What one gateway admits; 0 means no limit. `whole` is the configured allowance, `share` that of this gateway.

    `request_seconds` and `token_seconds`: what one request or token takes of the minute.
    """

    whole: Allowance
    share: Allowance
    request_seconds: float = 0.0
    token_seconds: float = 0.0
    concurrent: int = 0
    day_tokens: int = 0


def rates(allowance: Allowance, gateways: int) -> Rates:
    """The share of each of so many gateways. A share is never less than 1."""
    per_minute = [None if limit is None else max(1.0, limit / gateways) for limit in (allowance.rpm, allowance.tpm)]
    rpm, tpm = per_minute
    concurrent = None if allowance.concurrent is None else max(1, allowance.concurrent // gateways)
    day = None if allowance.tokens_per_day is None else max(1, allowance.tokens_per_day // gateways)
    return Rates(
        allowance,
        Allowance(None if rpm is None else math.floor(rpm), None if tpm is None else math.floor(tpm), concurrent, day),
        request_seconds=MINUTE_SECONDS / rpm if rpm else 0.0,
        token_seconds=MINUTE_SECONDS / tpm if tpm else 0.0,
        concurrent=concurrent or 0,
        day_tokens=day or 0,
    )


def limits_anything(allowance: Allowance) -> bool:
    """Whether any limit is set."""
    return allowance != Allowance()
