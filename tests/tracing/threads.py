"""Threads that export go on a while after their test: they must be gone before another one begins.

OpenTelemetry's exporters draw from the one `random` that Hypothesis watches, and write warnings into other tests' logs.
"""

import threading
import time
from typing import Final

NAMES: Final = ("OtelBatch", "export of metrics", "flush of spans")
PATIENCE_SECONDS: Final = 30.0


def wait_for_exports() -> None:
    """Returns when none runs any more."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while running := [thread.name for thread in threading.enumerate() if thread.name.startswith(NAMES)]:
        assert time.monotonic() < deadline, running
        time.sleep(0.02)
