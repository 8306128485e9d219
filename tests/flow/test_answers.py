"""What the API promises for answers: shapes, ids, headers, metadata."""

import json
from urllib.parse import quote

from tests.flow.world import CHAT, World, chat


async def test_a_chat_answer_has_an_id_of_its_own_and_the_model_that_was_asked(world: World) -> None:
    """`id` is unique although Ollama's is not; `model` is the id that the client wrote, an alias too."""
    served = await world.gateway((await world.simulator()).urls)
    replies = [await served.chat(model="team/code:best", max_tokens=2) for _ in range(3)]
    assert [reply.status for reply in replies] == [200] * 3
    assert len({reply.json["id"] for reply in replies}) == 3
    for reply in replies:
        content = reply.json
        assert content["id"].startswith("chatcmpl-")
        assert (content["object"], content["model"]) == ("chat.completion", "team/code:best")
        assert content["choices"][0]["message"]["role"] == "assistant"
        assert content["usage"]["total_tokens"] > 0
        assert isinstance(content["created"], int)


async def test_every_answer_carries_a_request_id(world: World) -> None:
    """A sane id of the caller's is echoed, any other is replaced; on errors and streams too."""
    served = await world.gateway((await world.simulator()).urls)
    paths = [("GET", "/v1/models", None), ("GET", "/nowhere", None), ("POST", CHAT, b"{}"), ("PUT", CHAT, b"{}")]
    for method, path, body in [
        *paths,
        ("POST", CHAT, chat(stream=True)),
        ("GET", "/", None),
        ("GET", "/v1/health", None),
    ]:
        sane = await served.ask(method, path, body, {"x-request-id": "trace-17:a.b_C"})
        assert sane.header("x-request-id") == "trace-17:a.b_C"
        for odd in ("has blank", "x" * 129, "<script>", "ä"):
            replaced = (await served.ask(method, path, body, {"x-request-id": odd})).header("x-request-id")
            assert replaced
            assert replaced != odd
            assert len(replaced) == 32


async def test_models_are_listed_with_their_aliases(world: World) -> None:
    """GET /v1/models: the config's ids, each once, in OpenAI's shape and with the version."""
    served = await world.gateway((await world.simulator()).urls)
    content = await served.get("/v1/models")
    assert content["object"] == "list"
    assert [model["id"] for model in content["data"]] == ["llama3", "coder", "code", "team/code:best", "embed"]
    for model in content["data"]:
        assert set(model) == {"id", "object", "created", "owned_by", "version"}
        assert model["object"] == "model"
    assert content["data"][1]["version"] == "13b"


async def test_a_model_is_shown_under_an_id_with_slashes_and_colons(world: World) -> None:
    """GET /v1/models/{model}: encoded or not, with Ollama's facts beside OpenAI's."""
    simulator = await world.simulator(count=2)
    served = await world.gateway(simulator.urls)
    for path in ("team/code:best", quote("team/code:best", safe=""), "team%2Fcode:best"):
        model = await served.get(f"/v1/models/{path}")
        assert (model["id"], model["ollama"], model["version"]) == ("team/code:best", "codellama:13b", "13b")
        assert model["state"] == "ready"
        assert sorted(model["endpoints"]) == sorted(simulator.addresses)
        assert model["context_length"] > 0
        assert model["digest"]
        assert model["family"]
        assert model["parameter_size"]
        assert model["quantization"]
        assert model["size"] > 0
        assert "completion" in model["capabilities"]
    assert (await served.ask("HEAD", "/v1/models/llama3")).status == 200


async def test_a_model_shows_where_it_is_loaded(world: World) -> None:
    """`loaded_on` names the endpoint that answered for it."""
    simulator = await world.simulator(count=2)
    served = await world.gateway(simulator.urls)
    assert (await served.chat(max_tokens=1)).status == 200
    used = (await served.recorded()).attempts[0].endpoint
    loaded: list[str] = []
    while used not in loaded:
        loaded = (await served.get("/v1/models/llama3"))["loaded_on"]
    assert loaded == [used]


async def test_embeddings_come_as_floats_or_base64_in_order(world: World) -> None:
    """Both encodings pass, the order is kept, the model is the one that was asked."""
    served = await world.gateway((await world.simulator()).urls)
    for encoding, kind in (("float", list), ("base64", str)):
        body = json.dumps({"model": "embed", "input": ["a", "b", "c"], "encoding_format": encoding}).encode()
        reply = await served.ask("POST", "/v1/embeddings", body)
        assert reply.status == 200, reply.body
        assert [item["index"] for item in reply.json["data"]] == [0, 1, 2]
        assert all(isinstance(item["embedding"], kind) for item in reply.json["data"])
        assert reply.json["model"] == "embed"
        assert reply.json["usage"]["prompt_tokens"] > 0


async def test_a_text_completion_is_served(world: World) -> None:
    """POST /v1/completions, whole and as a stream."""
    served = await world.gateway((await world.simulator()).urls)
    body = {"model": "code", "prompt": "def f(", "max_tokens": 3}
    reply = await served.ask("POST", "/v1/completions", json.dumps(body).encode())
    assert (reply.status, reply.json["object"], reply.json["model"]) == (200, "text_completion", "code")
    streamed = await served.ask("POST", "/v1/completions", json.dumps({**body, "stream": True}).encode())
    *chunks, done = streamed.events
    assert done == "data: [DONE]"
    contents = [json.loads(chunk.removeprefix("data: ")) for chunk in chunks]
    assert {content["id"] for content in contents} == {contents[0]["id"]}
    assert {content["model"] for content in contents} == {"code"}
    assert not any(content.get("usage") for content in contents)


async def test_health_tells_of_gateway_and_ollama(world: World) -> None:
    """Three fields for everyone; `degraded` while an endpoint is down, `unavailable` when none is up."""
    simulator = await world.simulator(count=2)
    served = await world.gateway(simulator.urls)
    content = await served.get("/v1/health")
    assert (content["gateway"], content["ollama"]) == ("ok", "ok")
    assert isinstance(content["uptime_seconds"], int)
    simulator.endpoints[0].kill()
    while (await served.get("/v1/health"))["ollama"] != "degraded":
        pass
    simulator.endpoints[1].kill()
    while (await served.get("/v1/health"))["ollama"] != "unavailable":
        pass


async def test_the_greeting_names_the_docs(world: World) -> None:
    """GET / on the API port is a short text."""
    reply = await (await world.gateway((await world.simulator()).urls)).ask("GET", "/")
    assert reply.status == 200
    assert b"docs" in reply.body.lower()


async def test_probes_are_on_the_admin_port_alone(world: World) -> None:
    """/livez and /readyz are not served on the API port, nor the API on the admin port."""
    served = await world.gateway((await world.simulator()).urls)
    assert (await served.probe("/livez")).status == 200
    assert (await served.probe("/readyz")).json == {"ready": True, "reason": None}
    for path in ("/livez", "/readyz", "/metrics"):
        assert (await served.ask("GET", path)).error["code"] == "not_found"
    assert (await served.probe("/v1/models")).error["code"] == "not_found"


async def test_the_admin_port_names_its_own_paths(world: World) -> None:
    """A client that takes it for the API learns what it is."""
    served = await world.gateway([])
    error = (await served.probe("/v1/models")).error
    assert (error["code"], "admin port are GET /livez, /readyz, /metrics" in error["message"]) == ("not_found", True)


async def test_readiness_does_not_depend_on_any_ollama(world: World) -> None:
    """With every endpoint down the gateway is ready, and says that Ollama is unavailable."""
    simulator = await world.simulator()
    simulator.endpoints[0].kill()
    served = await world.gateway(simulator.urls)
    assert (await served.get("/v1/health"))["ollama"] == "unavailable"
