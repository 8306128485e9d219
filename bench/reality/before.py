"""A gateway process before some Ollamas, which it takes for the pods of a cluster."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.flow.kubernetes_api import KubernetesApi, pod_on
from tests.ollama.gateway import Serving


@dataclass(frozen=True, slots=True)
class Place:
    """The pods by their URLs, what each has room for, and the models that all of them hold."""

    urls: Sequence[str]
    places: int  # OLLAMA_MAX_LOADED_MODELS
    slots: int  # OLLAMA_NUM_PARALLEL
    models: Sequence[str]


@asynccontextmanager
async def gateway_before(place: Place, policy: str, folder: Path) -> AsyncIterator[str]:
    """Its URL; it has learned nothing yet. What is measured is how long calls wait, so none is refused for that."""
    own = Path(tempfile.mkdtemp(dir=folder))
    api = KubernetesApi()
    for number, url in enumerate(place.urls):
        port, places, slots = int(url.rpartition(":")[2]), str(place.places), str(place.slots)
        pod = pod_on(port, f"ollama-{number}", OLLAMA_MAX_LOADED_MODELS=places, OLLAMA_NUM_PARALLEL=slots)
        api.put("pods", pod)
    await api.start()
    kubeconfig = api.access(own).kubeconfig
    assert kubeconfig is not None
    config: dict[str, Any] = {
        "models": {name: {} for name in place.models},
        "discovery": {"kubernetes": {}},
        "balancing": {"policy": policy},
        "queue": {"max_waiting": 10_000},
        "timeouts": {"queue": "10m"},
    }
    gateway = Serving(own, config, ["--kubeconfig", kubeconfig])
    try:
        await asyncio.to_thread(gateway.start)
        yield gateway.url
    finally:
        await asyncio.to_thread(gateway.stop)
        await api.stop()
