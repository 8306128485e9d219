"""Response headers about limits: OpenAI's `x-ratelimit-*`, and the IETF's `RateLimit` fields.

Of several limits of one kind they show the tightest. The fields follow draft-ietf-httpapi-ratelimit-headers-10.
"""

import math
from functools import lru_cache
from typing import Final, NamedTuple

from ai_gateway.limits.account import Account, Instant
from ai_gateway.limits.admission import Counts
from ai_gateway.limits.rates import DAY_SECONDS, MINUTE_SECONDS, Kind, Rates
from ai_gateway.wire.replies import Headers

_NAMES: Final[dict[Kind, str]] = {
    "rpm": "rpm", "tpm": "tpm", "concurrent": "concurrent", "tokens_per_day": "tokens-per-day",
}  # fmt: skip
_PARAMETERS: Final[dict[Kind, str]] = {
    "rpm": ";w=60", "tpm": ";w=60", "concurrent": ';qu="concurrent-requests"', "tokens_per_day": f";w={DAY_SECONDS}",
}  # fmt: skip


class Remaining(NamedTuple):
    """What is left of one limit now, the limit, and the seconds until all of it is free again."""

    remaining: int
    limit: int
    reset_seconds: float


def remaining_by_kind(counts: Counts, instant: Instant) -> dict[Kind, Remaining]:
    """The tightest limit of each kind at an instant."""
    found: dict[Kind, Remaining] = {}
    for rule, account in zip(counts.rules, counts.accounts, strict=True):
        for kind, left in _of_rule(rule.rates, account, instant):
            if kind not in found or left < found[kind]:
                found[kind] = left
    return found


def limit_headers(counts: Counts) -> Headers:
    """The headers of one answer."""
    found = remaining_by_kind(counts, counts.instant)
    headers: Headers = []
    requests, tokens = found.get("rpm"), found.get("tpm") or found.get("tokens_per_day")
    if requests is not None:
        headers += _openai(b"requests", requests)
    if tokens is not None:
        headers += _openai(b"tokens", tokens)
    policy = _policy(tuple([(kind, left.limit) for kind, left in found.items()]))
    states = [_state(kind, left) for kind, left in found.items()]
    return [*headers, (b"ratelimit-policy", policy), (b"ratelimit", ", ".join(states).encode())]


@lru_cache(maxsize=256)
def _policy(limits: tuple[tuple[Kind, int], ...]) -> bytes:
    """Cached, because it is the same for nearly all answers."""
    return ", ".join(f'"{_NAMES[kind]}";q={limit}{_PARAMETERS[kind]}' for kind, limit in limits).encode()


def _state(kind: Kind, left: Remaining) -> str:
    reset = "" if kind == "concurrent" else f";t={math.ceil(left.reset_seconds)}"
    return f'"{_NAMES[kind]}";r={left.remaining}{reset}'


def _openai(unit: bytes, left: Remaining) -> Headers:
    return [
        (b"x-ratelimit-limit-" + unit, b"%d" % left.limit),
        (b"x-ratelimit-remaining-" + unit, b"%d" % left.remaining),
        (b"x-ratelimit-reset-" + unit, go_duration(left.reset_seconds).encode()),
    ]


def _of_rule(rates: Rates, account: Account, instant: Instant) -> list[tuple[Kind, Remaining]]:
    found: list[tuple[Kind, Remaining]] = []
    share = rates.share
    if share.rpm is not None:
        found.append(("rpm", _minute(account.requests_until - instant.now, rates.request_seconds, share.rpm)))
    if share.tpm is not None:
        found.append(("tpm", _minute(account.tokens_until - instant.now, rates.token_seconds, share.tpm)))
    if share.concurrent is not None:
        found.append(("concurrent", Remaining(max(0, share.concurrent - account.running), share.concurrent, 0.0)))
    if share.tokens_per_day is not None:
        left = max(0, share.tokens_per_day - account.used(instant.today))
        found.append(("tokens_per_day", Remaining(left, share.tokens_per_day, instant.day_left)))
    return found


def _minute(busy_seconds: float, seconds_each: float, limit: int) -> Remaining:
    busy = max(0.0, busy_seconds)
    free = max(0.0, MINUTE_SECONDS - busy)
    return Remaining(min(limit, int(free / seconds_each + 1e-6)), limit, busy)


def go_duration(seconds: float) -> str:
    """A duration as OpenAI writes it, rounded up: `250ms`, `1s`, `6m0s`, `2h0m0s`."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms" if seconds > 0 else "0s"
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{rest}s"
