"""Ports that a test may have for itself, also while nobody listens there."""

import os
import random
import re
import socket
from contextlib import suppress

# Below those that Linux gives to whoever asks for any, and below the NodePorts of Kubernetes: nobody takes one that is
# closed for a while. Workers of pytest have a share each.
_ALL = range(20_000, 30_000)
_SHARES = 16
_WORKER = re.fullmatch(r"gw(\d+)", os.environ.get("PYTEST_XDIST_WORKER", ""))
_PORTS = _ALL[int(_WORKER[1]) % _SHARES :: _SHARES] if _WORKER else _ALL


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, nor any other test will."""
    for port in random.Random().sample(_PORTS, len(_PORTS)):  # Hypothesis watches the one that is common to all
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no port is free")
