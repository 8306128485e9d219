"""What the tests of traces share: gateways that export, and what came of their requests."""

import os
from collections.abc import Sequence
from typing import Any

from tests.flow.waiting import until
from tests.flow.world import Served, World
from tests.tracing.receiver import SERVER, Receiver, Span

from ai_gateway.telemetry.export import Exporting
from ai_gateway.telemetry.settings import read_settings


class Traced:
    """Exports of one test's gateways."""

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self.may_complain = False
        self.exporting: list[Exporting] = []

    async def gateway(self, world: World, urls: Sequence[str], **sections: Any) -> Served:
        """A gateway as `World.gateway`, with the tracing that the environment asks for now."""
        world.telemetry = read_settings(os.environ)
        exporting = Exporting(world.telemetry, os.environ)
        self.exporting.append(exporting)
        world.tracing = exporting
        return await world.gateway(urls, **sections)

    async def requests(self, count: int = 1) -> list[Span]:
        """The SERVER spans of so many requests, each with what is below it; more must not come."""

        def trees() -> list[Span]:
            return [span for span in self.receiver.trees() if span.kind == SERVER]

        await until(lambda: len(trees()) >= count, f"{count} SERVER spans")
        found = sorted(trees(), key=lambda span: span.start_ns)
        assert len(found) == count
        assert len(self.receiver.trees()) == count, "a span without its SERVER span"
        return found

    def close(self) -> None:
        """Ends all exports."""
        for exporting in self.exporting:
            assert exporting.close(5.0) or self.may_complain
