"""The limits in force: which rules apply to a call, and where the gateway counts them."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from ai_gateway.config.limits import LimitsSection, Redis
from ai_gateway.exchange import Caller
from ai_gateway.limits.account import Instant
from ai_gateway.limits.admission import Grant, LimitExceeded
from ai_gateway.limits.days import Days
from ai_gateway.limits.memory import Memory
from ai_gateway.limits.rules import LimitRule, LimitSet

if TYPE_CHECKING:
    from ai_gateway.limits.shared import Shared


class AdmissionRequest(msgspec.Struct, frozen=True):
    """A call that asks for admission. It ends after `longest_seconds` at the latest.

    `model` is None before the body has come. Then only the limits of its caller and tenant apply.
    """

    caller: Caller
    model: str | None
    tokens: int
    longest_seconds: float


class LimiterDeps(msgspec.Struct, frozen=True):
    """What the limiter depends on: Unix seconds, monotonic seconds, the number of ready gateways, and the reason why it
    cannot be counted."""

    wall: Callable[[], float]
    clock: Callable[[], float]
    gateways: Callable[[], int] = lambda: 1
    reason: Callable[[], str | None] = lambda: None


class Limiter:
    """Admits calls. A new config, calls, and the number of gateways change it."""

    def __init__(self, deps: LimiterDeps) -> None:
        self._deps = deps
        self._section = LimitsSection()
        self.is_on = False  # the config sets limits, not only the keys of callers
        self._own_limits = LimitSet(self._section, 1)  # with this gateway's share of each limit, counted here
        self._shared_limits = self._own_limits  # with the whole limits, counted in Redis
        self._days = Days(deps.wall, deps.clock)
        self._memory = Memory(self._days)
        self._shared: Shared | None = None
        self._leaving: list[Shared] = []
        self.fallbacks = 0  # calls that were checked here because Redis was unavailable

    @property
    def gateways(self) -> int:
        """The number of gateways that share the limits counted here."""
        return self._own_limits.gateways

    @property
    def is_shared(self) -> bool:
        """Whether all gateways count together now."""
        return self._shared is not None and not self._shared.is_away

    @property
    def reason(self) -> str | None:
        """Why limits are not exact now."""
        away = self._shared.reason if self._shared is not None else None
        return f"Redis is unavailable: {away}" if away else self._deps.reason()

    def instant(self) -> Instant:
        """The current instant, on the clock of this gateway's own counts."""
        return self._days.instant()

    def seed(self, used: Mapping[str, int]) -> None:
        """Adds the tokens used today before startup, by scope (see `rules`), to its share of day budgets."""
        self._memory.seed(used)

    def configure(self, section: LimitsSection | None) -> None:
        """Puts limits in force. The counts stay."""
        self.is_on = section is not None
        section = section or LimitsSection()
        if section == self._section:
            return
        self._section = section
        self._own_limits = LimitSet(section, self._deps.gateways())
        self._shared_limits = LimitSet(section, 1)
        self._connect(section.redis)

    async def admit(self, request: AdmissionRequest) -> Grant | LimitExceeded | None:
        """Admits or refuses a call; None if no limit applies to it."""
        if self._shared is not None:
            rules = self._shared_limits.rules(request.caller, request.model)
            if not rules:
                return None
            outcome = await self._shared.admit(rules, request.tokens, request.longest_seconds)
            if outcome is not None:
                return outcome
            self.fallbacks += 1
        rules = self._rules(request)
        return self._memory.admit(rules, request.tokens) if rules else None

    def preview(self, request: AdmissionRequest) -> LimitExceeded | None:
        """The refusal that a call would get now, as far as this gateway knows without Redis. Charges nothing."""
        if self.is_shared:
            return None
        rules = self._rules(request)
        exceeded = self._memory.preview(rules, request.tokens) if rules else None
        if exceeded is not None and self._shared is not None:
            self.fallbacks += 1
        return exceeded

    def _rules(self, request: AdmissionRequest) -> list[LimitRule]:
        gateways = self._deps.gateways()
        if gateways != self._own_limits.gateways:
            self._own_limits = LimitSet(self._section, gateways)
        return self._own_limits.rules(request.caller, request.model)

    async def close(self) -> None:
        """Settles what it can soon, and disconnects from Redis."""
        self._connect(None)
        for shared in self._leaving:
            await shared.close()

    def _connect(self, redis: Redis | None) -> None:
        if redis == (self._shared and self._shared.settings):
            return
        if self._shared is not None:
            self._leaving.append(self._shared)  # running calls still settle there
        self._shared = None
        if redis is not None:
            from ai_gateway.limits.shared import Shared

            self._shared = Shared(redis)
            self._shared.start()
