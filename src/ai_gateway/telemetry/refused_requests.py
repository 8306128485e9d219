"""Counts requests that the server refused before the app saw them: they have no exchange."""

from collections.abc import Iterator

from ai_gateway.telemetry import names
from ai_gateway.telemetry.sample import Sample
from ai_gateway.telemetry.series import counters


class RefusedRequests:
    """Call it with status and code of each refusal."""

    def __init__(self) -> None:
        self._counted = counters()

    def __call__(self, status: int, code: str) -> None:
        """Counts one."""
        self._counted.at(str(status), code).value += 1

    def samples(self) -> Iterator[Sample]:
        """All counts."""
        for labels, counter in self._counted.items():
            yield Sample(names.REFUSED_CONNECTIONS, counter.value, labels)
