"""How long `serve` waits at a shutdown: a flag overrides the config, and the config overrides the default."""

import argparse
from pathlib import Path

import pytest

from ai_gateway.cli.serve import CLUSTER_DRAIN_SECONDS, _settings
from ai_gateway.cluster.access import Access
from ai_gateway.config.types import Config, Drain
from ai_gateway.config.units import Pause


@pytest.fixture
def in_pod(tmp_path: Path) -> Access:
    (tmp_path / "token").touch()
    return Access(service_account=tmp_path)


def times(
    access: Access,
    config: Config | None = None,
    listen: str | None = None,
    delay: str | None = None,
    grace: str | None = None,
) -> tuple[float, float]:
    """Delay and grace, in seconds."""
    flags = argparse.Namespace(listen=listen, admin=None, drain_delay=delay, drain_grace=grace)
    settings = _settings(flags, config or Config(), access)
    return settings.drain_seconds, settings.grace_seconds


@pytest.mark.parametrize("listen", [":8080", "0.0.0.0:8080", "[::]:8080", "10.0.0.7:8080"])
def test_in_a_cluster_there_is_a_drain_delay(in_pod: Access, listen: str) -> None:
    """Wherever the address comes from."""
    assert times(in_pod, listen=listen)[0] == CLUSTER_DRAIN_SECONDS
    assert times(in_pod, Config(listen=listen))[0] == CLUSTER_DRAIN_SECONDS


@pytest.mark.parametrize("listen", [None, "127.0.0.1:8080", "127.0.0.2:1", "[::1]:8080", "localhost:8080"])
def test_on_loopback_there_is_no_drain_delay(in_pod: Access, listen: str | None) -> None:
    """No Service leads there. Loopback is also the default address."""
    assert times(in_pod, listen=listen)[0] == 0


@pytest.mark.parametrize("context", [None, "staging"])
def test_outside_a_cluster_there_is_no_drain_delay(tmp_path: Path, context: str | None) -> None:
    """Also with a kubeconfig for the pods of a cluster."""
    assert times(Access(context=context, service_account=tmp_path / "none"), listen=":8080")[0] == 0


def test_the_config_overrides_the_default_delay(in_pod: Access) -> None:
    """A delay of 0 is a word, too."""
    for seconds in (0, 3):
        config = Config(listen=":8080", drain=Drain(Pause(seconds), Pause(seconds)))
        assert times(in_pod, config) == (seconds, seconds)


def test_a_flag_overrides_the_config(in_pod: Access) -> None:
    """Each of the two by itself."""
    config = Config(listen=":8080", drain=Drain(Pause(3), Pause(4)))
    assert times(in_pod, config, delay="0", grace="250ms") == (0, 0.25)
    assert times(in_pod, config, delay="1m") == (60, 4)
    assert times(in_pod, config, grace="0s") == (3, 0)


def test_running_answers_have_five_minutes_by_default(in_pod: Access) -> None:
    assert times(in_pod)[1] == 300


def test_an_empty_variable_counts_as_unset(in_pod: Access) -> None:
    """As with the other flags: a template may leave it empty."""
    asked = Config(drain=Drain(delay=Pause(3), grace=Pause(4)))
    assert times(in_pod, asked, delay="", grace="") == (3.0, 4.0)
