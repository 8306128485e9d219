"""Ports that tests draw are nobody else's, whether anybody listens there or not."""

import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from tests.ports import free_port

_DRAW = "from tests.ports import free_port; print(*(free_port() for _ in range(100)))"


def test_a_port_is_not_drawn_again_soon() -> None:
    drawn = [free_port() for _ in range(200)]
    assert len(set(drawn)) == len(drawn)


def test_ports_in_a_row_are_all_free() -> None:
    """Most of the time one of them is taken."""
    with ExitStack() as taken:
        for _ in range(200):
            taken.enter_context(socket.create_server(("127.0.0.1", free_port())))
        first = free_port(4)
        for port in range(first, first + 4):
            taken.enter_context(socket.create_server(("127.0.0.1", port)))


def test_processes_at_once_draw_different_ports() -> None:
    drawn = {free_port() for _ in range(100)}
    root = Path(__file__).parent.parent
    other = subprocess.run([sys.executable, "-c", _DRAW], cwd=root, capture_output=True, text=True, check=True)
    assert drawn.isdisjoint(map(int, other.stdout.split()))
