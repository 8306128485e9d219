"""`drain` takes durations that may be 0: you may choose not to wait."""

import pytest

from ai_gateway.config.loading import ConfigError, parse
from ai_gateway.config.types import Config, Drain, restart_required
from ai_gateway.config.units import Pause


def test_by_default_the_environment_decides_the_delay_and_streams_get_five_minutes() -> None:
    assert Config().drain == Drain(delay=None, grace=Pause(300))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("0s", 0), ("0.0", 0), ("'0'", 0), ("2", 2), ("'2.5'", 2.5), ("250ms", 0.25), ("5m", 300)],
)
@pytest.mark.parametrize("key", ["delay", "grace"])
def test_a_pause_may_be_zero(key: str, text: str, seconds: float) -> None:
    assert getattr(parse(f"drain: {{{key}: {text}}}".encode()).drain, key) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["-1", "-0.5s", "soon", "false", "true", ".nan", ".inf", "[0]", "{}", "''", "²", "1.2.3"]
)
@pytest.mark.parametrize("key", ["delay", "grace"])
def test_an_invalid_duration_is_refused_with_its_path(key: str, text: str) -> None:
    """`false` is not 0, although Python thinks so."""
    with pytest.raises(ConfigError) as refused:
        parse(f"drain: {{{key}: {text}}}".encode())
    assert [reason.path for reason in refused.value.reasons] == [f"drain.{key}"]


def test_a_change_of_the_drain_needs_a_restart() -> None:
    """A change is accepted and named; it takes effect with a restart."""
    assert restart_required(Config(), parse(b"drain: {delay: 1s}")) == ["drain"]
