"""The limits in force: which terms a call has, and where they are counted."""

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
    """What a call asks of its limits. It is over after `longest_seconds`, whatever happens. `model` is None as long as
    its body has not come: then only its caller's and tenant's limits are asked."""

    caller: Caller
    model: str | None
    tokens: int
    longest_seconds: float


class LimiterDeps(msgspec.Struct, frozen=True):
    """What limits are told from outside: Unix seconds, monotonic ones, how many gateways are ready, and what keeps
    anyone from counting them."""

    wall: Callable[[], float]
    clock: Callable[[], float]
    gateways: Callable[[], int] = lambda: 1
    reason: Callable[[], str | None] = lambda: None


class Limiter:
    """Admits calls. Changed by a new config, by calls, and by the number of gateways."""

    def __init__(self, deps: LimiterDeps) -> None:
        self._deps = deps
        self._section = LimitsSection()
        self.is_on = False  # there is more than the limits that callers bring
        self._alone = LimitSet(self._section, 1)  # what this gateway counts, with its share of all limits
        self._together = self._alone  # what is counted in Redis, whole
        self._days = Days(deps.wall, deps.clock)
        self._memory = Memory(self._days)
        self._shared: Shared | None = None
        self._leaving: list[Shared] = []
        self.fallbacks = 0  # calls that were checked here because Redis was away

    @property
    def gateways(self) -> int:
        """By how many gateways limits are divided here."""
        return self._alone.gateways

    @property
    def is_shared(self) -> bool:
        """Whether counts are those of all gateways now."""
        return self._shared is not None and not self._shared.is_away

    @property
    def reason(self) -> str | None:
        """What keeps limits from being kept exactly, now."""
        away = self._shared.reason if self._shared is not None else None
        return f"Redis is away: {away}" if away else self._deps.reason()

    def instant(self) -> Instant:
        """Now, on the clock of this gateway's own counts."""
        return self._days.instant()

    def seed(self, used: Mapping[str, int]) -> None:
        """Tokens used today before this gateway started, by scope (see `terms`): of its share of day budgets."""
        self._memory.seed(used)

    def configure(self, section: LimitsSection | None) -> None:
        """Puts limits in force. What was counted stays counted."""
        self.is_on = section is not None
        section = section or LimitsSection()
        if section == self._section:
            return
        self._section = section
        self._alone = LimitSet(section, self._deps.gateways())
        self._together = LimitSet(section, 1)
        self._connect(section.redis)

    async def admit(self, ask: AdmissionRequest) -> Grant | LimitExceeded | None:
        """The verdict on a call; None where no limit holds for it."""
        if self._shared is not None:
            rules = self._together.rules(ask.caller, ask.model)
            if not rules:
                return None
            verdict = await self._shared.admit(rules, ask.tokens, ask.longest_seconds)
            if verdict is not None:
                return verdict
            self.fallbacks += 1
        rules = self._rules(ask)
        return self._memory.admit(rules, ask.tokens) if rules else None

    def preview(self, ask: AdmissionRequest) -> LimitExceeded | None:
        """The refusal that a call would meet now, as far as this gateway knows without asking; nothing is charged."""
        if self.is_shared:
            return None
        rules = self._rules(ask)
        exceeded = self._memory.preview(rules, ask.tokens) if rules else None
        if exceeded is not None and self._shared is not None:
            self.fallbacks += 1
        return exceeded

    def _rules(self, ask: AdmissionRequest) -> list[LimitRule]:
        gateways = self._deps.gateways()
        if gateways != self._alone.gateways:
            self._alone = LimitSet(self._section, gateways)
        return self._alone.rules(ask.caller, ask.model)

    async def close(self) -> None:
        """Settles what can be settled soon, and leaves Redis."""
        self._connect(None)
        for shared in self._leaving:
            await shared.close()

    def _connect(self, redis: Redis | None) -> None:
        if redis == (self._shared and self._shared.settings):
            return
        if self._shared is not None:
            self._leaving.append(self._shared)  # calls under way still settle there
        self._shared = None
        if redis is not None:
            from ai_gateway.limits.shared import Shared

            self._shared = Shared(redis)
            self._shared.start()
