"""`ai-gateway` that counts no requests: what the metrics of requests cost is the difference to it."""

import sys

from ai_gateway import app
from ai_gateway.__main__ import main
from ai_gateway.exchange import Exchange
from ai_gateway.telemetry.request_metrics import RequestMetrics


class Uncounted(RequestMetrics):
    """Takes every exchange and does nothing with it."""

    def __call__(self, exchange: Exchange) -> None:
        """Nothing."""


if __name__ == "__main__":
    vars(app)["RequestMetrics"] = Uncounted
    sys.exit(main())
