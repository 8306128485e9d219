"""Turns an identity into a caller: the first matching rule decides, together with the entry of a key."""

import msgspec

from ai_gateway.auth.identity import Identity
from ai_gateway.auth.patterns import fits, fits_parts
from ai_gateway.config.access import CallerRule, Match
from ai_gateway.config.limits import RateLimits
from ai_gateway.exchange import Allowance, Caller


def grant(identity: Identity, rules: tuple[CallerRule, ...] | None) -> Caller | None:
    """The caller, without an address; None if no rule lets it in.

    Without rules every known caller may use every model. A key without a matching rule has the rights of its entry. A
    rule can only narrow its models, routes and limits, and lower its priority, but it can add the role admin.
    """
    rule = next((rule for rule in rules or () if _is_for(rule.match, identity)), None)
    if rule is None and rules is not None and identity.method != "keys":
        return None
    tenant = (rule.tenant if rule else None) or identity.tenant
    lists = (identity.models, rule.models if rule else None)
    return Caller(
        name=identity.name,
        tenant=tenant,
        groups=identity.groups,
        method=identity.method,
        key_id=identity.key_id,
        is_admin=identity.role == "admin" or (rule is not None and rule.role == "admin"),
        models=tuple(patterns for patterns in lists if patterns is not None),
        routes=_both(identity.routes, rule.routes if rule else None),
        is_batch=rule is not None and rule.priority == "batch",
        allowance=_least(identity.limits, rule.limits if rule else None),
        label=identity.name if identity.method == "keys" else (rule.tenant if rule else None),
    )


def _is_for(match: Match, identity: Identity) -> bool:
    """Whether every key of a match fits; an empty match fits everyone."""
    account, key = match.serviceaccount, match.key
    if match.method is not None and match.method != identity.method:
        return False
    if account is not None and not (identity.service_account and fits_parts(account, identity.service_account)):
        return False
    if key is not None and not (identity.method == "keys" and fits(key, identity.name)):
        return False
    if match.group is not None and not any(fits(match.group, group) for group in identity.groups):
        return False
    if match.tenant is not None and not (identity.tenant and fits(match.tenant, identity.tenant)):
        return False
    return match.name is None or fits(match.name, identity.name)


def _both(own: tuple[str, ...] | None, by_rule: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if own is None or by_rule is None:
        return by_rule if own is None else own
    return tuple(route for route in own if route in by_rule)


def _least(own: RateLimits | None, by_rule: RateLimits | None) -> Allowance | None:
    """The tighter limit of each kind; None if neither sets limits, so that the default applies."""
    stated = [msgspec.structs.asdict(limits) for limits in (own, by_rule) if limits is not None]
    if not stated:
        return None
    kinds = Allowance.__struct_fields__
    values = {kind: [limits[kind] for limits in stated if limits[kind] is not None] for kind in kinds}
    return Allowance(**{kind: min(found) for kind, found in values.items() if found})
