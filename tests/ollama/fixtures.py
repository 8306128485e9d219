"""The fixtures of `tests/ollama` and `tests/clients`: a fleet, real or simulated, and gateways over it.

Every test runs twice: over simulated Ollamas (`-m "not ollama"`) and over real ones (`-m ollama`, which needs
`python tests/tools/build_ollama.py` to have run). A real one that is not there fails its tests; none is skipped.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import httpx
import pytest
from tests.ollama.fleet import Fleet
from tests.ollama.gateway import MISSING, MODELS, Gateway
from tests.ollama.real import Ollama
from tests.ollama.simulated import Simulated
from tests.ollama.store import link, seeded_store
from tests.tools.build_ollama import binary_path

__all__ = ["client", "fleet", "fragile_client", "fragile_fleet", "fragile_gateway", "gateway"]

CALL_SECONDS = 60.0


@pytest.fixture(scope="session", params=["simulated", pytest.param("real", marks=pytest.mark.ollama)])
def fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two Ollamas for the whole run."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "real":
        if not binary_path().exists():
            pytest.fail("Ollama is not built; run: python tests/tools/build_ollama.py", pytrace=False)
        store = seeded_store()
        for name in ("a", "b"):
            link(store, folder / name / "models")
        fleet = Fleet([Ollama(folder / name) for name in ("a", "b")])
    else:
        fleet = Fleet([Simulated(folder / name) for name in ("a", "b")])
    try:
        fleet.mend()
        yield fleet
    finally:
        for endpoint in fleet.endpoints:
            endpoint.stop()


@contextmanager
def running(gateway: Gateway) -> Iterator[Gateway]:
    """The gateway, started, until the block is left."""
    try:
        gateway.start()
        yield gateway
    finally:
        gateway.stop()


@pytest.fixture(scope="module")
def gateway(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway for tests that hurt nobody. Its config also names `ghost`, which no endpoint holds."""
    with running(Gateway(tmp_path_factory.mktemp("gateway"), fleet.urls, {**MODELS, **MISSING})) as gateway:
        yield gateway


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    """A plain HTTP client of the gateway."""
    async with httpx.AsyncClient(base_url=gateway.url, timeout=CALL_SECONDS, trust_env=False) as client:
        yield client


@pytest.fixture
def fragile_fleet(fleet: Fleet) -> Iterator[Fleet]:
    """The fleet for a test that kills: `slow` is loaded before, and what is dead afterwards comes back to life."""
    fleet.load("slow")
    yield fleet
    fleet.mend()


@pytest.fixture
def fragile_gateway(fragile_fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway of one's own for a test that kills, with nothing wrong at the start."""
    with running(Gateway(tmp_path_factory.mktemp("gateway"), fragile_fleet.urls)) as gateway:
        yield gateway


@pytest.fixture
async def fragile_client(fragile_gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    """A plain HTTP client of `fragile_gateway`."""
    async with httpx.AsyncClient(base_url=fragile_gateway.url, timeout=CALL_SECONDS, trust_env=False) as client:
        yield client
