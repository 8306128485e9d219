"""The gateway becomes ready after its start, also where the wait for the first polls fails."""

import logging

import pytest
from tests.flow.waiting import until
from tests.flow.world import World

from ai_gateway.upstream.polling import Poller


async def test_a_failed_wait_for_the_first_polls_is_logged_and_the_gateway_becomes_ready(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Polling goes on by itself; a gateway that is unready for ever would get no requests."""

    async def broken(_: Poller) -> None:
        raise ValueError("broken")

    monkeypatch.setattr(Poller, "first_round", broken)
    simulator = await world.simulator()
    served = await world.gateway([simulator.endpoints[0].url], is_ready=False)
    await until(lambda: not served.gateway.readiness.is_starting)
    await served.readiness(200)
    (record,) = [one for one in caplog.records if "first polls" in one.message]
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert (await served.chat()).status == 200
    caplog.clear()
