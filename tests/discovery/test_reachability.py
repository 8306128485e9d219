"""A gateway outside the cluster explains why no pod answers; a gateway inside never does."""

import logging
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest
from tests.balancing.worlds import World

from ai_gateway.balancing.pod import Pod
from ai_gateway.cluster.access import Access
from ai_gateway.discovery.reachability import PATIENCE_SECONDS, ReachabilityCheck
from ai_gateway.discovery.runner import DiscoveryRunner
from ai_gateway.discovery.source import Found, Source
from ai_gateway.discovery.static import StaticSource
from ai_gateway.wire.address import Address

POD = Address("10.0.0.1", uid="u")


class Cluster(Source):
    """A source of pods that gives nothing of its own accord."""

    name = "kubernetes pods"

    async def lists(self) -> AsyncGenerator[Found]:
        """See Source."""
        yield Found()


class Here:
    """A fleet with a pod in it, seen from somewhere."""

    def __init__(self, access: Access) -> None:
        self.world = World(0)
        self.world.fleet.apply([POD], {POD: Pod("ollama-0", "ai")})
        self.runner = DiscoveryRunner(lambda _: None)
        self.due: list[Callable[[], None]] = []
        self.reachability = ReachabilityCheck(self.world.fleet.endpoints.values, self.runner, access, self._call_later)

    def _call_later(self, seconds: float, act: Callable[[], None]) -> None:
        assert seconds == PATIENCE_SECONDS
        self.due.append(act)

    def wait(self) -> None:
        """The patience is over."""
        self.due.pop()()


async def test_unreachable_pods_are_explained_once(caplog: pytest.LogCaptureFixture) -> None:
    """In the log and in health, until one answers."""
    here = Here(Access(context="staging"))
    here.runner.follow(Cluster())
    here.reachability.listed()
    here.reachability.listed()
    assert len(here.due) == 1
    for _ in range(3):
        here.wait()
    assert "kubectl port-forward" in str(here.runner.status().reason)
    assert caplog.text.count("none can be reached from here") == 1
    here.world.fleet.saw_up(here.world.fleet.endpoints[POD], "0.24.0")
    here.wait()
    assert here.runner.status().reason is None
    assert here.due == []
    await here.runner.stop()


async def test_a_source_without_pods_is_not_checked() -> None:
    """You named these endpoints yourself."""
    here = Here(Access(context="staging"))
    here.runner.follow(StaticSource((POD,)))
    here.reachability.listed()
    assert here.due == []
    await here.runner.stop()


async def test_in_the_cluster_there_is_no_advice(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """There a pod that does not answer is down, and no more."""
    caplog.set_level(logging.INFO)
    (tmp_path / "token").touch()
    here = Here(Access(service_account=tmp_path))
    here.runner.follow(Cluster())
    here.reachability.listed()
    assert here.due == []
    await here.runner.stop()
