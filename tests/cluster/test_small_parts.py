"""The small parts of the cluster room: who asks, a bell between threads, a pace."""

import asyncio
import threading
from pathlib import Path

import pytest
import yaml
from tests.flow.waiting import soon

from ai_gateway.cluster.access import Access
from ai_gateway.cluster.bell import Bell
from ai_gateway.cluster.pace import Pace


def kubeconfig(path: Path, current: str | None, **namespaces: str | None) -> Path:
    """A kubeconfig with a context for each namespace."""
    contexts = [
        {"name": name, "context": {"cluster": "c", **({"namespace": value} if value else {})}}
        for name, value in namespaces.items()
    ]
    path.write_text(yaml.safe_dump({"contexts": contexts, **({"current-context": current} if current else {})}))
    return path


def test_a_token_means_a_cluster_unless_another_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "token").touch()
    assert Access(service_account=tmp_path).is_in_cluster
    assert not Access(context="staging", service_account=tmp_path).is_in_cluster
    assert not Access(service_account=tmp_path / "none").is_in_cluster


def test_the_namespace_in_a_pod_is_the_pods(tmp_path: Path) -> None:
    """`default` where the file is missing."""
    (tmp_path / "token").touch()
    assert Access(service_account=tmp_path).namespace() == "default"
    (tmp_path / "namespace").write_text("ai\n")
    assert Access(service_account=tmp_path).namespace() == "ai"


def test_the_namespace_outside_is_the_contexts(tmp_path: Path) -> None:
    """The current one, or the one that is named; `default` where it says nothing."""
    path = str(kubeconfig(tmp_path / "config", "a", a="ai", b="other", c=None))
    nowhere = tmp_path / "none"
    assert Access(path, service_account=nowhere).namespace() == "ai"
    assert Access(path, "b", nowhere).namespace() == "other"
    assert Access(path, "c", nowhere).namespace() == "default"
    assert Access(path, "no-such", nowhere).namespace() == "default"
    assert Access(service_account=nowhere, usual_kubeconfig=path).namespace() == "ai"


def test_several_kubeconfigs_are_one(tmp_path: Path) -> None:
    """As kubectl reads the setting; a file that is missing or no YAML says nothing."""
    (tmp_path / "odd").write_text("{")
    second = kubeconfig(tmp_path / "second", None, b="other")
    first = kubeconfig(tmp_path / "first", "b", a="ai")
    named = f"{tmp_path / 'missing'}:{tmp_path / 'odd'}:{first}:{second}"
    assert Access(named, service_account=tmp_path / "none").namespace() == "other"


async def test_a_bell_rung_in_another_thread_is_heard() -> None:
    """A thousand rings are one."""
    bell = Bell(settle_seconds=0.01)

    def ring_on() -> None:
        for _ in range(1000):
            bell.ring()

    ringing = threading.Thread(target=ring_on)
    ringing.start()
    await soon(bell.wait())
    ringing.join()
    bell.ring()
    await soon(bell.wait())


async def test_a_ring_after_the_waiting_is_not_lost() -> None:
    """It is heard by the next who waits."""
    bell = Bell(settle_seconds=0.0)
    bell.ring()
    await soon(bell.wait())
    bell.ring()
    await asyncio.sleep(0)
    await soon(bell.wait())


async def test_waiting_has_an_end_if_it_is_asked_for() -> None:
    await soon(Bell().wait(0.01))


def test_a_bell_of_a_loop_that_is_closed_is_rung_without_harm() -> None:
    """A thread may outlive the loop by a moment."""
    bells = []

    async def make() -> None:
        bells.append(Bell())

    asyncio.run(make())
    bells[0].ring()


def test_a_pace_gives_a_burst_and_then_one_a_second() -> None:
    """However many ask, and a pause earns a new burst."""
    pace = Pace(50, 1.0)
    assert [pace.take(100.0) for _ in range(50)] == [0.0] * 50
    assert [pace.take(100.0) for _ in range(3)] == [1.0, 2.0, 3.0]
    assert [pace.take(1000.0) for _ in range(50)] == [0.0] * 50


@pytest.mark.parametrize("now", [100.5, 100.0])
def test_a_turn_is_earned_by_time_alone(now: float) -> None:
    pace = Pace(1, 2.0)
    assert pace.take(100.0) == 0.0
    assert pace.take(now) == (0.0 if now > 100 else 0.5)
