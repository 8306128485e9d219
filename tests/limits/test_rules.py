"""Which limits hold for a call."""

import pytest
from tests.limits.worlds import known

from ai_gateway.config.limits import LimitsSection, RateLimits
from ai_gateway.exchange import Allowance, Caller
from ai_gateway.limits.rules import LimitSet, site_of

SECTION = LimitsSection(
    default=RateLimits(rpm=600),
    tenants={"team-a": RateLimits(tpm=100_000), "unlimited": RateLimits()},
    models={"llama3": RateLimits(concurrent=64)},
)


def scopes(caller: Caller, model: str = "llama3", section: LimitsSection = SECTION) -> list[str]:
    return [rule.scope for rule in LimitSet(section, 1).rules(caller, model)]


def test_every_limit_that_applies_holds() -> None:
    assert scopes(known("alice", tenant="team-a")) == ["caller:keys:alice", "tenant:team-a", "model:llama3"]
    assert scopes(known("alice", tenant="team-b"), "coder") == ["caller:keys:alice"]
    assert scopes(known("alice", tenant="unlimited"), "coder") == ["caller:keys:alice"]


def test_a_callers_own_limits_take_the_place_of_the_default() -> None:
    own, _ = LimitSet(SECTION, 1).rules(known("alice", Allowance(rpm=5)), "llama3")
    assert own.rates.whole == Allowance(rpm=5)
    assert scopes(known("alice", Allowance()), "coder") == []


def test_without_a_default_the_unknown_are_not_limited() -> None:
    assert scopes(Caller(address="192.0.2.1"), "coder", LimitsSection(models={"llama3": RateLimits(rpm=1)})) == []


def test_nobody_becomes_a_caller_by_its_name() -> None:
    """An address, a tenant or a model of the same name is counted apart."""
    section = LimitsSection(RateLimits(rpm=1), {"x": RateLimits(rpm=1)}, {"x": RateLimits(rpm=1)})
    assert len(set(scopes(known("x", tenant="x"), "x", section) + scopes(Caller(address="x"), "x", section))) == 4


@pytest.mark.parametrize(
    ("address", "site"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_an_ipv6_client_is_known_by_its_network(address: str, site: str) -> None:
    assert site_of(address) == site
    assert LimitSet(SECTION, 1).rules(Caller(address=address), "coder")[0].scope == f"address:{site}"
