"""A first config that comes after the start, when the audit has begun without one."""

import time
from pathlib import Path

import pytest

from ai_gateway.accounting.audit import Audit, print_line
from ai_gateway.config.audit import AuditSection
from ai_gateway.errors import AuditUnavailable
from ai_gateway.exchange import Exchange, Ids, Times


@pytest.mark.parametrize(
    "late", [AuditSection(mode="blocking"), AuditSection(mode="strict")], ids=lambda audit: audit.mode
)
async def test_no_call_is_sent_under_a_promise_that_what_has_begun_does_not_keep(
    tmp_path: Path, late: AuditSection
) -> None:
    """Until the start that such a config asks for."""
    audit = Audit(time.monotonic, {"XDG_STATE_HOME": str(tmp_path)}, print_line)
    await audit.begin(AuditSection())
    audit.on_first_config(late)
    assert audit.holds
    with pytest.raises(AuditUnavailable):
        await audit.write_intent(Exchange(Ids("r"), Times(time.monotonic()), "POST", "/v1/chat/completions"))
    await audit.end()


async def test_a_late_config_that_promises_no_more_changes_nothing(tmp_path: Path) -> None:
    audit = Audit(time.monotonic, {"XDG_STATE_HOME": str(tmp_path)}, print_line)
    await audit.begin(AuditSection())
    audit.on_first_config(AuditSection(level="request"))
    assert not audit.holds
    await audit.end()
