"""The fixtures of `test_models_*`: a registry for the whole run, and for each test Ollamas with empty disks.

They are made by a real Ollama, so a test that asks for them must be marked `ollama`.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.ollama import registry
from tests.ollama.real import Ollama
from tests.ollama.registry import Publisher, Registry
from tests.ollama.rollouts import Rollouts
from tests.tools.build_ollama import binary_path


@pytest.fixture(scope="module")
def publisher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Publisher]:
    """One that has published nothing, and its registry."""
    if not binary_path().exists():
        pytest.fail("Ollama is not built; run: python tests/tools/build_ollama.py", pytrace=False)
    registry.installed()
    folder = tmp_path_factory.mktemp("registry")
    shop = Registry(folder)
    publisher = Publisher(folder / "publisher", shop)
    try:
        shop.start()
        publisher.start()
        yield publisher
    finally:
        publisher.stop()
        shop.stop()


@pytest.fixture
def count(request: pytest.FixtureRequest) -> int:
    """How many Ollamas there are; a test may have another number as its parameter."""
    return int(getattr(request, "param", 1))


@pytest.fixture
def rooms(request: pytest.FixtureRequest) -> int:
    """How many models each of them may have loaded."""
    return int(getattr(request, "param", 4))


@pytest.fixture
async def rollouts(publisher: Publisher, count: int, rooms: int, tmp_path: Path) -> AsyncIterator[Rollouts]:
    """The world of one test; it starts the gateway."""
    ollamas = [Ollama(tmp_path / f"ollama-{number}", rooms) for number in range(count)]
    world = Rollouts(tmp_path, publisher.registry, publisher, ollamas)
    try:
        for ollama in ollamas:
            ollama.start()
        yield world
    finally:
        await world.stop()
        for ollama in ollamas:
            ollama.stop()
        publisher.registry.mend()
