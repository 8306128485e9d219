"""What the gateway makes of the timeouts that a client names."""

import pytest

from ai_gateway.config.types import Timeouts
from ai_gateway.config.units import Seconds
from ai_gateway.edge.asgi import HEADERS_KEY
from ai_gateway.edge.patience import Patience, patience_of

TIMEOUTS = Timeouts(total=Seconds(600), stream=Seconds(1800))


def said(**headers: str) -> Patience:
    """What a request with these headers says; `read` and `total` stand for their names."""
    names = {"read": b"x-stainless-read-timeout", "total": b"x-request-timeout"}
    return patience_of({HEADERS_KEY: {names[key]: value.encode() for key, value in headers.items()}})


@pytest.mark.parametrize("odd", ["0", "-1", "nan", "1e999", "-inf", "soon", "", "1s", "600000ms"])
def test_numbers_that_mean_nothing_count_as_none(odd: str) -> None:
    """The other header still counts."""
    assert said(read=odd, total=odd) == Patience()
    assert said(read=odd, total="7.5") == Patience(total=7.5)
    assert said(read="7.5", total=odd) == Patience(between_bytes=7.5)


@pytest.mark.parametrize(
    ("patience", "whole", "stream"),
    [
        pytest.param(Patience(), 600, 1800, id="none"),
        pytest.param(Patience(total=10), 9.5, 9.5, id="a total: 5 % earlier"),
        pytest.param(Patience(total=100), 99, 99, id="a second earlier at most"),
        pytest.param(Patience(between_bytes=10), 9.5, 1800, id="silence: a stream has none"),
        pytest.param(Patience(between_bytes=10, total=20), 9.5, 19, id="both: the shorter one"),
        pytest.param(Patience(between_bytes=20, total=10), 9.5, 9.5, id="both, the other way round"),
        pytest.param(Patience(total=1000), 999, 999, id="longer than is usual for a whole answer"),
        pytest.param(Patience(total=9000, between_bytes=9000), 1800, 1800, id="longer than any"),
    ],
)
def test_a_call_ends_a_little_before_its_client_gives_up(patience: Patience, whole: float, stream: float) -> None:
    """And no later than the config allows."""
    assert patience.total_seconds(TIMEOUTS, stream=False) == pytest.approx(whole)
    assert patience.total_seconds(TIMEOUTS, stream=True) == pytest.approx(stream)


@pytest.mark.parametrize(
    ("between_bytes", "seconds"), [(None, 15), (600, 15), (30, 15), (20, 10), (5, 2.5), (2, 1), (0.1, 1)]
)
def test_a_stream_is_never_silent_for_as_long_as_its_client_waits(between_bytes: float | None, seconds: float) -> None:
    """A comment comes at half of it, never later than usual, and once a second at most."""
    assert Patience(between_bytes).heartbeat_seconds(15) == seconds


def test_a_short_heartbeat_of_the_config_stays() -> None:
    """A patience that is shorter still makes no comments come later."""
    assert Patience(0.1).heartbeat_seconds(0.5) == 0.5
