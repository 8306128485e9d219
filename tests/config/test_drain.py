"""`drain` takes durations that may be 0: not to wait at all is a choice, too."""

import pytest

from ai_gateway.config.loading import ConfigError, parse
from ai_gateway.config.types import Config, Drain, restart_required
from ai_gateway.config.units import Pause


def test_without_a_word_the_surroundings_choose_the_delay_and_streams_get_five_minutes() -> None:
    assert Config().drain == Drain(delay=None, grace=Pause(300))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("0s", 0), ("0.0", 0), ("'0'", 0), ("2", 2), ("'2.5'", 2.5), ("250ms", 0.25), ("5m", 300)],
)
@pytest.mark.parametrize("key", ["delay", "grace"])
def test_a_pause_may_be_none_at_all(key: str, text: str, seconds: float) -> None:
    assert getattr(parse(f"drain: {{{key}: {text}}}".encode()).drain, key) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["-1", "-0.5s", "soon", "false", "true", ".nan", ".inf", "[0]", "{}", "''", "²", "1.2.3"]
)
@pytest.mark.parametrize("key", ["delay", "grace"])
def test_what_is_no_duration_is_refused_with_its_path(key: str, text: str) -> None:
    """`false` is no 0, whatever Python thinks of it."""
    with pytest.raises(ConfigError) as refused:
        parse(f"drain: {{{key}: {text}}}".encode())
    assert [reason.path for reason in refused.value.reasons] == [f"drain.{key}"]


def test_the_times_of_leaving_are_those_of_the_start() -> None:
    """A change is accepted and named, and takes effect with a restart."""
    assert restart_required(Config(), parse(b"drain: {delay: 1s}")) == ["drain"]
