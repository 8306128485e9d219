"""Which limits hold for a call: its caller's own or the default ones, its tenant's, and its model's."""

import ipaddress
from functools import lru_cache
from typing import Final, Literal

import msgspec

from ai_gateway.config.limits import LimitsSection, RateLimits
from ai_gateway.exchange import Allowance, Caller
from ai_gateway.limits.rates import Rates, limits_anything, rates

MOST_KEPT: Final = 4096  # of what is worked out once and kept, by address or allowance
IPV6_SITE_BITS: Final = 64  # what one subscriber has at least: an address of it costs nothing

Holder = Literal["caller", "tenant", "model"]


class LimitRule(msgspec.Struct, frozen=True):
    """Limits that a call must keep. All calls with one `scope` are counted together."""

    holder: Holder
    name: str
    scope: str
    rates: Rates

    def __str__(self) -> str:
        return f"{self.holder} {self.name}"


class LimitSet:
    """The limits of one config, for so many gateways. Never changed but for what it remembers: a term is worked out
    when it is first asked for, since a config may have thousands."""

    def __init__(self, section: LimitsSection, gateways: int) -> None:
        self.gateways = gateways
        default = section.default and _allowance(section.default)
        self._default = rates(default, gateways) if default and limits_anything(default) else None
        self._section = section
        self._rules: dict[str, LimitRule | None] = {}  # of tenants and models, by scope
        self._own: dict[Allowance, Rates] = {}

    def rules(self, caller: Caller, model: str | None) -> list[LimitRule]:
        """All that hold for a call of this model, known by its id; None: of whatever model."""
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
            if len(self._own) >= MOST_KEPT:
                self._own.clear()
            found = self._own[allowance] = rates(allowance, self.gateways)
        return found

    def _known_as(self, caller: Caller) -> tuple[str, str]:
        """Its name, and its scope. Whoever has no name is told apart by address."""
        if caller.method != "none":
            return caller.name, caller_scope(caller.method, caller.name)
        site = site_of(caller.address)
        return f"at {site}", address_scope(site)


@lru_cache(maxsize=MOST_KEPT)
def site_of(address: str) -> str:
    """An IPv4 address as it is, of IPv6 the /64; what is no address stays what it is."""
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
    """Where calls of a caller with a name are counted: what a token says is never taken for a key's name."""
    return f"caller:{method}:{name}"


def address_scope(site: str) -> str:
    """Where calls of whoever has no name are counted, see `site_of`."""
    return f"address:{site}"


def tenant_scope(tenant: str) -> str:
    """Where calls of a tenant are counted."""
    return f"tenant:{tenant}"


def model_scope(model: str) -> str:
    """Where calls of a model are counted, by its id."""
    return f"model:{model}"


_SCOPES: Final = {"tenant": tenant_scope, "model": model_scope}


def _allowance(limits: RateLimits) -> Allowance:
    return Allowance(limits.rpm, limits.tpm, limits.concurrent, limits.tokens_per_day)
