"""What a real Ollama tells of its loaded models, and how they are loaded and unloaded: what the gateway relies on.

Recorded from 0.24.0; each test also reads the answers as the gateway does.
"""

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.ollama.real import Ollama
from tests.ollama.store import link, seeded_store
from tests.ollama.talk import until
from tests.tools.build_ollama import binary_path
from tests.upstream.scripted import a_client

from ai_gateway.balancing.fleet import Fleet
from ai_gateway.balancing.resident import Resident, Weights
from ai_gateway.config.balancing import Polling
from ai_gateway.upstream.inventory import read_list, read_models, read_residents, read_weights
from ai_gateway.upstream.polling import Poller
from ai_gateway.wire.address import parse_url

pytestmark = pytest.mark.ollama

FOREVER = 11_000_000_000  # Unix seconds, in the year 2318


class Talk:
    """Speaks with one Ollama; it starts with nothing loaded."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def post(self, path: str, **body: Any) -> httpx.Response:
        """A request that need not go well."""
        return self._http.post(path, json=body)

    def create(self, name: str, base: str, **parameters: Any) -> None:
        """A model from another one, with parameters of its own."""
        wish = {"model": name, "from": base, "parameters": parameters, "stream": False}
        assert self.post("/api/create", **wish).json() == {"status": "success"}

    def residents(self) -> list[Resident]:
        """What /api/ps lists."""
        return list(read_residents(read_list(self._http.get("/api/ps").content)).values())

    def digest(self, name: str) -> str:
        """Of the manifest that the name has now."""
        return read_models(read_list(self._http.get("/api/tags").content))[f"{name}:latest"].digest

    def weights(self, name: str) -> Weights:
        """What /api/show tells."""
        found = read_weights(self.post("/api/show", model=name).content)
        assert found is not None
        return found

    def delete(self, name: str) -> None:
        """Removes the name."""
        assert self._http.request("DELETE", "/api/delete", json={"model": name}).status_code == 200

    async def unload_all(self) -> None:
        """Nothing is loaded afterwards."""
        for name in ("tiny", "embed"):
            assert self.post("/api/generate", model=name, keep_alive=0).status_code == 200
        await self.until_loaded()

    async def until_loaded(self, *names: str) -> None:
        """Returns when these are loaded, and nothing else."""

        async def are_loaded() -> bool:
            return sorted(one.name for one in self.residents()) == sorted(f"{name}:latest" for name in names)

        await until(are_loaded)

    async def until_expiry(self, earliest: float, latest: float) -> None:
        """Returns when what is loaded expires between these moments."""

        async def is_so() -> bool:
            return all(earliest <= (one.expires_at or 0) <= latest for one in self.residents())

        await until(is_so)


@pytest.fixture(scope="module")
def ollama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ollama]:
    """One that nobody else uses."""
    if not binary_path().exists():
        pytest.fail("Ollama is not built; run: python tests/tools/build_ollama.py", pytrace=False)
    folder = tmp_path_factory.mktemp("residents")
    link(seeded_store(), folder / "models")
    ollama = Ollama(folder)
    ollama.start()
    yield ollama
    ollama.stop()


@pytest.fixture
async def talk(ollama: Ollama) -> Any:
    """With nothing loaded, also afterwards."""
    with httpx.Client(base_url=ollama.url, trust_env=False, timeout=60) as http:
        talk = Talk(http)
        await talk.unload_all()
        yield talk
        await talk.unload_all()


@pytest.mark.parametrize("name", ["tiny", "embed"])
async def test_an_embed_without_input_loads_a_model_of_either_kind(talk: Talk, name: str) -> None:
    """Its keep-alive replaces the one before, if it has one; /api/ps shows that a moment after the answer."""
    reply = talk.post("/api/embed", model=name)
    assert (reply.status_code, reply.content) == (200, b'{"model":"%b","embeddings":[]}' % name.encode())
    (first,) = talk.residents()
    assert (first.name, first.digest, first.context_length) == (f"{name}:latest", talk.digest(name), 512)
    assert first.expires_at is not None
    half_an_hour = first.expires_at + 25 * 60
    assert talk.post("/api/embed", model=name, keep_alive="30m").status_code == 200
    await talk.until_expiry(half_an_hour - 30, half_an_hour + 30)
    assert talk.post("/api/embed", model=name, keep_alive=-1).status_code == 200
    await talk.until_expiry(FOREVER, 2 * FOREVER)
    assert talk.post("/api/embed", model=name).status_code == 200
    await talk.until_expiry(FOREVER, 2 * FOREVER)


@pytest.mark.parametrize("name", ["tiny", "embed"])
async def test_generate_with_keep_alive_zero_unloads_a_model_of_either_kind(talk: Talk, name: str) -> None:
    """Though an embedding model refuses all else there."""
    talk.post("/api/embed", model=name, keep_alive=-1)
    reply = talk.post("/api/generate", model=name, keep_alive=0)
    assert (reply.status_code, reply.json()["done"], reply.json()["done_reason"]) == (200, True, "unload")
    await talk.until_loaded()
    refused = talk.post("/api/generate", model="embed")
    assert (refused.status_code, refused.json()) == (400, {"error": '"embed" does not support generate'})


async def test_an_embed_with_keep_alive_zero_loads_first(talk: Talk) -> None:
    """So it is no way to unload what may not be loaded."""
    assert talk.post("/api/embed", model="tiny", keep_alive=0).json() == {"model": "tiny", "embeddings": []}
    await talk.until_loaded()


async def test_two_names_of_one_file_are_one_entry_under_the_name_that_loaded_it(talk: Talk) -> None:
    """Either name unloads it."""
    talk.post("/api/copy", source="tiny", destination="twin")
    assert talk.digest("twin") == talk.digest("tiny")
    assert talk.digest("plain") != talk.digest("tiny")
    assert talk.weights("plain") == talk.weights("twin") == talk.weights("tiny")
    for name in ("twin", "tiny", "plain"):
        talk.post("/api/embed", model=name)
    assert [(one.name, one.digest) for one in talk.residents()] == [("twin:latest", talk.digest("tiny"))]
    talk.post("/api/generate", model="plain", keep_alive=0)
    await talk.until_loaded()
    talk.delete("twin")


async def test_show_names_the_file_and_the_context(talk: Talk) -> None:
    """The file is that of the base; Go writes a million and more with an exponent."""
    talk.create("wide", "tiny", num_ctx=1048576)
    shown = talk.post("/api/show", model="wide").json()
    assert shown["parameters"] == "num_ctx                        1.048576e+06"
    head, line = shown["modelfile"].splitlines()[:3], shown["modelfile"].splitlines()[4]
    assert head == [
        '# Modelfile generated by "ollama show"',
        "# To build a new Modelfile based on this, replace FROM with:",
        "# FROM wide:latest",
    ]
    blob = talk.weights("tiny").blob
    assert line.startswith("FROM /")
    assert line.endswith(f"/models/blobs/sha256-{blob}")
    assert talk.weights("wide") == Weights(blob, 1048576)
    talk.post("/api/embed", model="wide")
    assert [one.context_length for one in talk.residents()] == [2048]  # of the model's training
    talk.delete("wide")
    absent = talk.post("/api/show", model="wide")
    assert (absent.status_code, absent.json()) == (404, {"error": "model 'wide' not found"})


async def test_a_loaded_model_keeps_the_digest_of_its_load(talk: Talk) -> None:
    """A call of the name that was made anew joins it, if the options to load are the same, and else reloads it."""
    talk.create("mine", "tiny", num_ctx=512, temperature=0.5)
    before = talk.digest("mine")
    talk.post("/api/embed", model="mine")
    talk.create("mine", "tiny", num_ctx=512, temperature=0.7)
    assert talk.digest("mine") != before
    talk.post("/api/embed", model="mine")
    assert [(one.name, one.digest, one.context_length) for one in talk.residents()] == [("mine:latest", before, 512)]
    talk.create("mine", "tiny", num_ctx=256)
    talk.post("/api/embed", model="mine")
    assert [(one.name, one.digest, one.context_length) for one in talk.residents()] == [
        ("mine:latest", talk.digest("mine"), 256)
    ]
    talk.delete("mine")


async def test_a_deleted_name_stays_loaded_and_cannot_unload_itself(talk: Talk) -> None:
    """A name that still has the file can."""
    talk.create("mine", "tiny", num_ctx=512, temperature=0.5)
    talk.post("/api/embed", model="mine")
    talk.delete("mine")
    gone = talk.post("/api/generate", model="mine", keep_alive=0)
    assert (gone.status_code, gone.json()) == (404, {"error": "model 'mine' not found"})
    assert [one.name for one in talk.residents()] == ["mine:latest"]
    talk.post("/api/generate", model="tiny", keep_alive=0)
    await talk.until_loaded()


async def test_equal_changes_have_equal_digests(talk: Talk) -> None:
    """A digest is of the manifest, in which no name stands."""
    for name in ("one", "other"):
        talk.create(name, "tiny", temperature=0.25)
    assert talk.digest("one") == talk.digest("other") != talk.digest("tiny")
    for name in ("one", "other"):
        talk.delete(name)


async def test_the_polls_learn_all_of_it(ollama: Ollama, talk: Talk) -> None:
    """Which files stand behind the names, once for each digest, and what is loaded."""
    talk.post("/api/embed", model="tiny", keep_alive=-1)
    fleet = Fleet(asyncio.get_running_loop().time, random.Random(1))
    async with a_client() as client:
        poller = Poller(fleet, client, Polling, random.Random(1))
        new, gone = fleet.apply([parse_url(ollama.url)])
        poller.follow(new, gone)

        async def is_learnt() -> bool:
            return len(fleet.weights) == 4 and new[0].residency.loaded is not None

        await until(is_learnt)
        await poller.stop()
    assert fleet.weights == {talk.digest(name): talk.weights(name) for name in ("tiny", "plain", "slow", "embed")}
    assert [one.entry for one in (new[0].residency.loaded or {}).values()] == talk.residents()
    assert "update it to 0.32.10" in new[0].check_reasons["/api/version"]
