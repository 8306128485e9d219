"""Which models there are, and what is known about them."""

import httpx
from tests.ollama.fleet import Fleet
from tests.ollama.talk import error_of, until


async def test_the_list_has_every_id_of_the_config_aliases_too(client: httpx.AsyncClient) -> None:
    listed = (await client.get("/v1/models")).json()
    assert listed["object"] == "list"
    ids = [model["id"] for model in listed["data"]]
    assert sorted(ids) == ["assistant", "chat", "embeddings", "ghost", "slow", "without-tools"]
    for model in listed["data"]:
        assert model["object"] == "model"
        assert isinstance(model["created"], int)
        assert model["owned_by"]
        assert model["version"] == "latest"


async def test_a_models_metadata_come_from_ollama(client: httpx.AsyncClient, fleet: Fleet) -> None:
    model = (await client.get("/v1/models/chat")).json()
    assert (model["id"], model["object"], model["ollama"]) == ("chat", "model", "tiny:latest")
    assert model["state"] == "ready"
    assert sorted(model["endpoints"]) == sorted(url.removeprefix("http://") for url in fleet.urls)
    assert len(model["digest"]) == 64
    assert model["size"] > 0
    assert model["family"] == "llama"
    assert model["parameter_size"]
    assert model["quantization"]
    assert model["context_length"] >= 512
    assert {"completion", "tools"} <= set(model["capabilities"])


async def test_a_model_that_answered_is_soon_known_to_be_loaded(client: httpx.AsyncClient) -> None:
    """Not `chat`: Ollama shows a runner under the one name that loaded it, which may be that of `without-tools`."""

    async def is_loaded() -> bool:
        return bool((await client.get("/v1/models/embeddings")).json()["loaded_on"])

    reply = await client.post("/v1/embeddings", json={"model": "embeddings", "input": "hello"})
    assert reply.status_code == 200
    await until(is_loaded)


async def test_capabilities_tell_models_apart(client: httpx.AsyncClient) -> None:
    assert "tools" not in (await client.get("/v1/models/without-tools")).json()["capabilities"]
    assert (await client.get("/v1/models/embeddings")).json()["capabilities"] == ["embedding"]


async def test_an_alias_has_the_metadata_of_its_model(client: httpx.AsyncClient) -> None:
    alias, model = [(await client.get(f"/v1/models/{name}")).json() for name in ("assistant", "chat")]
    assert alias["id"] == "assistant"
    assert alias["digest"] == model["digest"]


async def test_a_model_that_no_endpoint_holds_is_said_to_be_missing(client: httpx.AsyncClient) -> None:
    reply = await client.get("/v1/models/ghost")
    assert reply.status_code == 200
    assert reply.json()["state"] == "missing"
    assert reply.json()["endpoints"] == []


async def test_a_model_outside_the_config_is_unknown_even_if_an_endpoint_holds_it(client: httpx.AsyncClient) -> None:
    reply = await client.get("/v1/models/tiny:latest")
    assert reply.status_code == 404
    assert error_of(reply)["code"] == "model_not_found"
