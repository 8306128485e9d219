"""An API server that says too much, or too slowly: what asks it is bounded in bytes and in time."""

from contextlib import suppress
from pathlib import Path

import pytest
from tests.cluster.test_api import Asked, kubeconfig, serving

from ai_gateway.cluster.api import MAX_BYTES, MAX_LINE_BYTES, SLOWEST_FACTOR, Unreachable

PIECE = b" " * (1 << 20)


def test_an_answer_without_end_is_given_up(tmp_path: Path) -> None:
    """It is not kept in memory first."""

    def flood(asked: Asked) -> None:
        asked.begin_stream()
        with suppress(OSError):
            for _ in range(2 * MAX_BYTES // len(PIECE)):
                asked.chunk(PIECE)

    with serving(flood) as server, pytest.raises(Unreachable, match="more than"):
        kubeconfig(tmp_path, server.port).get("/x", {}, 5.0)


def test_an_answer_that_drips_is_given_up(tmp_path: Path) -> None:
    """Each byte comes in time, and all of them never."""

    def drip(asked: Asked) -> None:
        asked.begin_stream()
        with suppress(OSError):
            while True:
                asked.chunk(b" ")

    with serving(drip) as server, pytest.raises(Unreachable, match="not complete within"):
        kubeconfig(tmp_path, server.port).get("/x", {}, 0.5 / SLOWEST_FACTOR)


def test_an_event_without_end_ends_the_watch(tmp_path: Path) -> None:
    """Of what comes before it nothing is lost."""

    def flood(asked: Asked) -> None:
        asked.begin_stream()
        with suppress(OSError):
            asked.chunk(b"first\n")
            for _ in range(2 * MAX_LINE_BYTES // len(PIECE)):
                asked.chunk(PIECE)

    with serving(flood) as server, kubeconfig(tmp_path, server.port).stream("/x", {}, 5.0) as stream:
        lines = stream.lines()
        assert next(lines) == b"first"
        with pytest.raises(Unreachable, match="an event of more than"):
            next(lines)


def test_a_compressed_answer_is_none(tmp_path: Path) -> None:
    """None is asked for: what is small on the line may be anything in memory."""
    import gzip

    def squeeze(asked: Asked) -> None:
        asked.say(200, gzip.compress(b'{"ok": 1}'), Content_Encoding="gzip")

    with serving(squeeze) as server:
        body = kubeconfig(tmp_path, server.port).get("/x", {}, 5.0)
    assert body.startswith(b"\x1f\x8b")
