"""From an identity to the rights of its caller."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cost import assert_cheap

from ai_gateway.auth.identity import Identity
from ai_gateway.auth.patterns import fits, fits_parts, permits
from ai_gateway.auth.rules import grant
from ai_gateway.config.access import CallerRule
from ai_gateway.config.limits import RateLimits
from ai_gateway.exchange import Allowance

ACCOUNT = Identity(
    "system:serviceaccount:team-a:web", "kubernetes", None, ("system:serviceaccounts",), None, "team-a/web"
)
KEY = Identity("team-a", "keys", "red", ("writers",), "k", None, ("llama*",))
PERSON = Identity("someone", "oidc", "blue", ("staff", "ops"))

FOREIGN = Identity("system:serviceaccount:team-a:web", "oidc")


def _rules(*rules: dict[str, Any]) -> tuple[CallerRule, ...]:
    return msgspec.convert(rules, tuple[CallerRule, ...])


@pytest.mark.parametrize(
    ("match", "who", "holds"),
    [
        ({"serviceaccount": "team-a/*"}, ACCOUNT, True),
        ({"serviceaccount": "*/web"}, ACCOUNT, True),
        ({"serviceaccount": "team-*/we*"}, ACCOUNT, True),
        ({"serviceaccount": "*"}, ACCOUNT, False),  # no star reaches over the slash
        ({"serviceaccount": "team-a/*"}, Identity("x", "kubernetes", service_account="team-ab/web"), False),
        ({"serviceaccount": "team-a/*"}, KEY, False),
        ({"key": "team-*"}, KEY, True),
        ({"key": "someone"}, PERSON, False),  # a name that is no key's
        ({"key": "Team-a"}, KEY, False),
        ({"group": "ops"}, PERSON, True),
        ({"group": "op"}, PERSON, False),
        ({"group": "system:serviceaccounts"}, ACCOUNT, True),
        ({"tenant": "blue"}, PERSON, True),
        ({"tenant": "blue"}, KEY, False),
        ({"tenant": "*"}, ACCOUNT, False),  # it has none
        ({"name": "some*"}, PERSON, True),
        ({"name": "some*", "method": "oidc"}, PERSON, True),
        ({"name": "*", "method": "keys"}, PERSON, False),
        ({"serviceaccount": "team-a/*"}, FOREIGN, False),  # of another cluster
        ({"name": "system:serviceaccount:team-a:*", "method": "oidc"}, FOREIGN, True),
        ({"group": "ops", "tenant": "red"}, PERSON, False),
        ({"group": "ops", "tenant": "blue"}, PERSON, True),
        ({}, ACCOUNT, True),
    ],
)
def test_a_rule_matches_if_all_of_its_keys_match(match: dict[str, str], who: Identity, holds: bool) -> None:
    caller = grant(who, _rules({"match": match, "role": "admin"}))
    assert (caller is not None and caller.is_admin) == holds


def test_the_first_matching_rule_applies() -> None:
    rules = _rules(
        {"match": {"group": "nobody"}, "tenant": "x"},
        {"match": {"group": "staff"}, "tenant": "first", "models": ["llama3"]},
        {"match": {}, "tenant": "second"},
    )
    caller = grant(PERSON, rules)
    assert caller is not None
    assert (caller.tenant, caller.models, caller.label) == ("first", (("llama3",),), "first")


def test_a_caller_without_a_matching_rule_is_refused_unless_there_are_no_rules() -> None:
    assert grant(PERSON, _rules({"match": {"group": "nobody"}})) is None
    assert grant(PERSON, ()) is None
    caller = grant(PERSON, None)
    assert caller is not None
    assert (caller.is_admin, caller.models, caller.routes) == (False, (), None)


def test_a_key_without_a_matching_rule_has_the_rights_of_its_entry() -> None:
    for rules in (None, (), _rules({"match": {"key": "other"}})):
        caller = grant(KEY, rules)
        assert caller is not None
        assert (caller.models, caller.is_admin, caller.tenant, caller.label) == ((("llama*",),), False, "red", "team-a")


def test_a_rule_narrows_a_keys_models_and_routes_and_never_widens_them() -> None:
    key = msgspec.structs.replace(KEY, routes=("chat", "models"))
    caller = grant(key, _rules({"match": {"key": "*"}, "models": ["*"], "routes": ["chat", "audit"]}))
    assert caller is not None
    assert caller.routes == ("chat",)
    assert permits(caller.models, ("llama3",))
    assert not permits(caller.models, ("coder",))
    narrowed = grant(key, _rules({"match": {"key": "*"}, "models": ["coder"]}))
    assert narrowed is not None
    assert not permits(narrowed.models, ("llama3",))
    assert not permits(narrowed.models, ("coder",))


@pytest.mark.parametrize(
    ("own", "ruled", "holds"),
    [
        (None, None, None),
        ({"rpm": 5}, None, Allowance(rpm=5)),
        (None, {"tpm": 7}, Allowance(tpm=7)),
        ({"rpm": 5, "concurrent": 2}, {"rpm": 9, "tpm": 7, "concurrent": 1}, Allowance(rpm=5, tpm=7, concurrent=1)),
        ({}, {}, Allowance()),
    ],
)
def test_the_tighter_limits_of_key_and_rule_apply(
    own: dict[str, int] | None, ruled: dict[str, int] | None, holds: Allowance | None
) -> None:
    key = msgspec.structs.replace(KEY, limits=None if own is None else msgspec.convert(own, RateLimits))
    rule: dict[str, Any] = {"match": {"key": "*"}} | ({} if ruled is None else {"limits": ruled})
    caller = grant(key, _rules(rule))
    assert caller is not None
    assert caller.allowance == holds


def test_admin_comes_from_a_rule_or_a_keys_entry() -> None:
    admin = msgspec.structs.replace(KEY, role="admin")
    for who, rules, is_admin in (
        (admin, None, True),
        (admin, _rules({"match": {}}), True),
        (KEY, _rules({"match": {}, "role": "admin"}), True),
        (KEY, None, False),
        (PERSON, None, False),
    ):
        caller = grant(who, rules)
        assert caller is not None
        assert caller.is_admin == is_admin


@pytest.mark.parametrize("who", [ACCOUNT, PERSON])
def test_only_words_of_the_config_are_names_in_metrics(who: Identity) -> None:
    """A token's tenant comes from outside; a rule's is the operator's."""
    for rules, label in ((None, None), (_rules({"match": {}}), None), (_rules({"match": {}, "tenant": "red"}), "red")):
        caller = grant(who, rules)
        assert caller is not None
        assert caller.label == label


@given(st.text(max_size=12), st.text(max_size=12))
def test_a_pattern_without_a_star_fits_itself_alone(pattern: str, name: str) -> None:
    if "*" not in pattern:
        assert fits(pattern, name) == (pattern == name)
        assert fits_parts(pattern, name) == (pattern == name)


@given(st.text(max_size=6), st.text(max_size=6), st.text(max_size=12))
def test_a_star_stands_for_what_lies_between(head: str, tail: str, between: str) -> None:
    if "*" not in head + tail:
        assert fits(f"{head}*{tail}", head + between + tail)
        assert fits_parts(f"{head}*{tail}", head + between + tail) == ("/" not in between)


def test_matching_a_hostile_name_takes_linear_time() -> None:
    assert not fits("*a" * 50 + "*b", "a" * 100_000)
    assert_cheap(lambda: fits("*a" * 50 + "*b", "a" * 100_000), 0.5)


def test_nothing_in_a_pattern_but_the_star_is_special() -> None:
    for pattern, name in (("a.c", "abc"), ("[ab]", "a"), ("a?", "ab"), ("a+", "aa"), ("(a|b)", "a"), ("a", "a\n")):
        assert not fits(pattern, name)


def test_no_lists_of_patterns_permit_everything_and_an_empty_list_nothing() -> None:
    assert permits((), ("llama3",))
    assert not permits(((),), ("llama3",))


@pytest.mark.parametrize(("who", "is_batch"), [(KEY, True), (PERSON, False)])
def test_a_rule_makes_its_callers_calls_batch_work(who: Identity, is_batch: bool) -> None:
    """Without such a rule a caller's calls are interactive."""
    caller = grant(who, _rules({"match": {"key": "team-*"}, "priority": "batch"}, {"match": {}}))
    assert caller is not None
    assert caller.is_batch == is_batch
