"""Restores day budgets from the audit: budgets in memory must survive a restart."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from ai_gateway.accounting.open_audit import OpenAudit
from ai_gateway.audit.store import DayUsage, StoreUnavailable
from ai_gateway.cluster.gateways import Gateways
from ai_gateway.limits.rules import address_scope, caller_scope, model_scope, site_of, tenant_scope

log = logging.getLogger("ai_gateway.limits")

Identity = Callable[[str], str | None]

PATIENCE_SECONDS: Final = 5.0  # a day with millions of entries must not delay the start
COUNT_SECONDS: Final = 3.0  # for the number of gateways
CHECK_SECONDS: Final = 0.05


async def restore_budgets(audit: OpenAudit, identity: Identity, gateways: Gateways) -> Mapping[str, int]:
    """Today's tokens by scope: this gateway's share of them, or all of them if it has an audit of its own.

    Call it before the first call, or that call's tokens count twice. `identity` gives the id of the model for the name
    that a client sent. Empty if the audit cannot be read in time.
    """
    if audit.reader is None:
        return {}
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            found = await audit.reader.query(lambda archive: archive.usage_of_day(today))
    except (StoreUnavailable, TimeoutError) as error:
        reason = error or "too slow"
        log.warning("day budgets start at 0: the gateway cannot read today's use from the audit: %s", reason)
        return {}
    share = 1 if audit.section.store == "sqlite" else await _counted(gateways)
    return {scope: tokens // share for scope, tokens in by_scope(found, identity).items()}


async def _counted(gateways: Gateways) -> int:
    with suppress(TimeoutError):
        async with asyncio.timeout(COUNT_SECONDS):
            while not gateways.are_known:  # noqa: ASYNC110 - once, at the start; a thread finds out
                await asyncio.sleep(CHECK_SECONDS)
    return gateways.ready()


def by_scope(found: Iterable[DayUsage], identity: Identity) -> Mapping[str, int]:
    """The tokens of each scope: callers, tenants and models."""
    used: Counter[str] = Counter()
    for one in found:
        is_named = one.auth_method != "none"
        caller = caller_scope(one.auth_method, one.actor) if is_named else address_scope(site_of(one.client_address))
        used[caller] += one.tokens
        if one.tenant is not None:
            used[tenant_scope(one.tenant)] += one.tokens
        model = identity(one.model_asked)
        if model is not None:
            used[model_scope(model)] += one.tokens
    return used
