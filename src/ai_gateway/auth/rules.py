"""From who someone is to what they may do: the first rule that fits, and what a key's own entry says."""

import msgspec

from ai_gateway.auth.identity import Identity
from ai_gateway.auth.patterns import fits, fits_parts
from ai_gateway.config.access import CallerRule, Match
from ai_gateway.config.limits import RateLimits
from ai_gateway.exchange import Allowance, Caller


def grant(identity: Identity, rules: tuple[CallerRule, ...] | None) -> Caller | None:
    """The caller, without an address; None for one whom no rule lets in.

    Without rules everyone who is known is a user of every model. A key that no rule fits has what its entry says; a
    rule can only narrow its models, routes and limits, and adds the admin role where it gives it.
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
        allowance=_least(identity.limits, rule.limits if rule else None),
        label=identity.name if identity.method == "keys" else (rule.tenant if rule else None),
    )


def _is_for(match: Match, identity: Identity) -> bool:
    """Whether all that a rule names fits; one that names nothing fits everyone."""
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


def _both(own: tuple[str, ...] | None, ruled: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if own is None or ruled is None:
        return ruled if own is None else own
    return tuple(route for route in own if route in ruled)


def _least(own: RateLimits | None, ruled: RateLimits | None) -> Allowance | None:
    """Of each kind the tighter limit; None where nobody says anything, so that the default limits hold."""
    stated = [msgspec.structs.asdict(limits) for limits in (own, ruled) if limits is not None]
    if not stated:
        return None
    kinds = Allowance.__struct_fields__
    values = {kind: [limits[kind] for limits in stated if limits[kind] is not None] for kind in kinds}
    return Allowance(**{kind: min(found) for kind, found in values.items() if found})
