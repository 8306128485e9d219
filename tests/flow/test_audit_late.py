"""A first config that comes after the start, when the audit has begun without one."""

import time
from pathlib import Path

import pytest

from ai_gateway.config.auditing import Audit
from ai_gateway.edge.auditing import Auditing
from ai_gateway.errors import AuditUnavailable
from ai_gateway.exchange import Exchange


@pytest.mark.parametrize("late", [Audit(mode="blocking"), Audit(mode="strict")], ids=lambda audit: audit.mode)
async def test_no_call_is_sent_under_a_promise_that_what_has_begun_does_not_keep(tmp_path: Path, late: Audit) -> None:
    """Until the start that such a config asks for."""
    auditing = Auditing(time.monotonic, {"XDG_STATE_HOME": str(tmp_path)})
    await auditing.begin(Audit())
    auditing.want(late)
    assert auditing.holds
    with pytest.raises(AuditUnavailable):
        await auditing.intend(Exchange("r", "POST", "/v1/chat/completions", time.monotonic()))
    await auditing.end()


async def test_a_late_config_that_promises_no_more_changes_nothing(tmp_path: Path) -> None:
    auditing = Auditing(time.monotonic, {"XDG_STATE_HOME": str(tmp_path)})
    await auditing.begin(Audit())
    auditing.want(Audit(level="request"))
    assert not auditing.holds
    await auditing.end()
