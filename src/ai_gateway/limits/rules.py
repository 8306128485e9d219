"""Which limits apply to a call: those of its caller or the default ones, of its tenant, and of its model."""

import ipaddress
from functools import lru_cache
from typing import Final, Literal

import msgspec

from ai_gateway.config.limits import LimitsSection, RateLimits
from ai_gateway.exchange import Allowance, Caller
from ai_gateway.limits.rates import Rates, limits_anything, rates

MOST_CACHED: Final = 4096  # results in each cache
IPV6_SITE_BITS: Final = 64  # a subscriber has at least this much: further addresses cost nothing

Holder = Literal["caller", "tenant", "model"]


class LimitRule(msgspec.Struct, frozen=True):
    """Limits that a call must keep. All calls with the same `scope` count together."""

    holder: Holder
    name: str
    scope: str
    rates: Rates

    def __str__(self) -> str:
        return f"{self.holder} {self.name}"


class LimitSet:
    """The limits of one config for so many gateways. Only its caches change.

    It makes a rule when a call first needs it, because a config may have thousands.
    """

    def __init__(self, section: LimitsSection, gateways: int) -> None:
        self.gateways = gateways
        default = section.default and _allowance(section.default)
        self._default = rates(default, gateways) if default and limits_anything(default) else None
        self._section = section
        self._rules: dict[str, LimitRule | None] = {}  # of tenants and models, by scope
        self._own: dict[Allowance, Rates] = {}

    def rules(self, caller: Caller, model: str | None) -> list[LimitRule]:
        """The rules for a call of a model, by its id; None: without the model's rule."""
        found: list[LimitRule | None] = []
        own = self._default if caller.allowance is None else self._rates(caller.allowance)
        if own is not None:
            found.append(LimitRule("caller", *self._known_as(caller), own))
        if caller.tenant is not None and caller.tenant in self._section.tenants:
            found.append(self._rule("tenant", caller.tenant, self._section.tenants[caller.tenant]))
        if model is not None and model in self._section.models:
            found.append(self._rule("model", model, self._section.models[model]))
        return [rule for rule in found if rule is not None]

    def _rule(self, holder: Literal["tenant", "model"], name: str, limits: RateLimits) -> LimitRule | None:
        scope = _SCOPES[holder](name)
        if scope not in self._rules:
            allowance = _allowance(limits)
            is_one = limits_anything(allowance)
            self._rules[scope] = LimitRule(holder, name, scope, rates(allowance, self.gateways)) if is_one else None
        return self._rules[scope]

    def _rates(self, allowance: Allowance) -> Rates | None:
        found = self._own.get(allowance)
        if found is None and limits_anything(allowance):
            if len(self._own) >= MOST_CACHED:
                self._own.clear()
            found = self._own[allowance] = rates(allowance, self.gateways)
        return found

    def _known_as(self, caller: Caller) -> tuple[str, str]:
        """The name and the scope of a caller. A caller without a name is known by its address."""
        if caller.method != "none":
            return caller.name, caller_scope(caller.method, caller.name)
        site = site_of(caller.address)
        return f"at {site}", address_scope(site)


@lru_cache(maxsize=MOST_CACHED)
def site_of(address: str) -> str:
    """An IPv4 address itself, the /64 of an IPv6 address, and any other text unchanged."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((int(found), IPV6_SITE_BITS), strict=False))


def caller_scope(method: str, name: str) -> str:
    """The scope of a caller with a name. The method is part of it, so that a token cannot pose as a key."""
    return f"caller:{method}:{name}"


def address_scope(site: str) -> str:
    """The scope of callers without a name, by `site_of`."""
    return f"address:{site}"


def tenant_scope(tenant: str) -> str:
    """The scope of a tenant."""
    return f"tenant:{tenant}"


def model_scope(model: str) -> str:
    """The scope of a model, by its id."""
    return f"model:{model}"


_SCOPES: Final = {"tenant": tenant_scope, "model": model_scope}


def _allowance(limits: RateLimits) -> Allowance:
    return Allowance(limits.rpm, limits.tpm, limits.concurrent, limits.tokens_per_day)
