"""Ollama's own API on a real socket."""

import hashlib
from typing import Any

import pytest
from tests.simulator.conftest import HELLO, Client, ask, connect

from ai_gateway.balancing.resident import Weights
from ai_gateway.simulator import Settings, Simulator
from ai_gateway.simulator.endpoint import Endpoint
from ai_gateway.simulator.go_json import encode
from ai_gateway.upstream.inventory import read_weights


async def test_the_greeting_the_version_and_head_requests(endpoint: Endpoint) -> None:
    assert (await ask(endpoint, "GET", "/")).body == b"Ollama is running"
    assert (await ask(endpoint, "GET", "/api/version")).json == {"version": "0.33.0"}
    reply = await ask(endpoint, "HEAD", "/api/version")
    assert (reply.status, reply.headers["content-length"], reply.body) == (200, "20", b"")


async def test_a_chat_streams_unless_told_not_to(endpoint: Endpoint) -> None:
    body = {"model": "llama3", "messages": HELLO, "options": {"num_predict": 2}}
    reply = await ask(endpoint, "POST", "/api/chat", body)
    assert reply.headers["content-type"] == "application/x-ndjson"
    first, _, last = reply.lines
    assert list(first) == ["model", "created_at", "message", "done"]
    assert first["message"] == {"role": "assistant", "content": "I"}
    assert list(last)[3:] == [
        "done",
        "done_reason",
        "total_duration",
        "load_duration",
        "prompt_eval_count",
        "prompt_eval_duration",
        "eval_count",
        "eval_duration",
    ]
    whole = (await ask(endpoint, "POST", "/api/chat", body | {"stream": False})).json
    assert (whole["message"]["content"], whole["done_reason"]) == ("I am", "length")


async def test_generate_has_a_response_where_chat_has_a_message(endpoint: Endpoint) -> None:
    body = {"model": "llama3", "prompt": "hi", "options": {"num_predict": 1}, "stream": False}
    reply = (await ask(endpoint, "POST", "/api/generate", body)).json
    assert (reply["response"], reply["done"], reply["eval_count"]) == ("I", True, 1)


async def test_an_empty_generate_loads_and_keep_alive_zero_unloads(endpoint: Endpoint) -> None:
    loaded = await ask(endpoint, "POST", "/api/generate", {"model": "llama3", "keep_alive": -1})
    assert (loaded.json["done_reason"], loaded.headers["content-type"]) == ("load", "application/json; charset=utf-8")
    (row,) = (await ask(endpoint, "GET", "/api/ps")).json["models"]
    assert row["name"] == "llama3:latest"
    assert row["expires_at"] > "2300"
    assert list(row) == [
        "name",
        "model",
        "size",
        "digest",
        "details",
        "expires_at",
        "size_vram",
        "context_length",
    ]
    unloaded = await ask(endpoint, "POST", "/api/generate", {"model": "llama3", "keep_alive": 0})
    assert unloaded.json["done_reason"] == "unload"
    assert (await ask(endpoint, "GET", "/api/ps")).json == {"models": []}


@pytest.mark.parametrize("keep_alive", ["10m", -1])
async def test_the_expiry_of_an_idle_model_stands_still(endpoint: Endpoint, keep_alive: str | int) -> None:
    """The gateway takes a model whose expiry moves for one that somebody uses."""
    await ask(endpoint, "POST", "/api/generate", {"model": "llama3", "keep_alive": keep_alive})
    shown = {(await ask(endpoint, "GET", "/api/ps")).json["models"][0]["expires_at"] for _ in range(5)}
    assert len(shown) == 1


async def test_an_embedding_model_is_loaded_by_an_empty_embed(endpoint: Endpoint) -> None:
    refused = await ask(endpoint, "POST", "/api/generate", {"model": "nomic-embed-text"})
    assert (refused.status, refused.json) == (400, {"error": '"nomic-embed-text" does not support generate'})
    reply = await ask(endpoint, "POST", "/api/embed", {"model": "nomic-embed-text", "input": []})
    assert reply.json == {"model": "nomic-embed-text", "embeddings": []}
    assert [row["name"] for row in (await ask(endpoint, "GET", "/api/ps")).json["models"]] == [
        "nomic-embed-text:latest"
    ]


async def test_embed_and_its_older_form_agree(endpoint: Endpoint) -> None:
    new = (await ask(endpoint, "POST", "/api/embed", {"model": "nomic-embed-text", "input": "hi"})).json
    old = (await ask(endpoint, "POST", "/api/embeddings", {"model": "nomic-embed-text", "prompt": "hi"})).json
    assert new["embeddings"] == [old["embedding"]]
    long = {"model": "nomic-embed-text", "input": "x" * 20000, "truncate": False}
    assert (await ask(endpoint, "POST", "/api/embed", long)).json == {
        "error": "the input length exceeds the context length"
    }


async def test_tags_and_show_describe_the_models(endpoint: Endpoint) -> None:
    tags = (await ask(endpoint, "GET", "/api/tags")).json["models"]
    assert tags[0]["name"] == "llama3:latest"
    assert tags[-1]["capabilities"] == ["embedding"]
    shown = (await ask(endpoint, "POST", "/api/show", {"model": "codellama:13b"})).json
    assert shown["details"]["parameter_size"] == "13B"
    assert shown["model_info"]["llama.context_length"] == 131072
    assert shown["capabilities"] == ["completion", "insert", "tools"]


async def test_a_pull_reports_progress_and_adds_the_model(endpoint: Endpoint) -> None:
    lines = (await ask(endpoint, "POST", "/api/pull", {"model": "phi4"})).lines
    assert lines[0] == {"status": "pulling manifest"}
    assert lines[-1] == {"status": "success"}
    assert any(line.get("completed") == line.get("total", -1) for line in lines)
    assert "phi4:latest" in [row["name"] for row in (await ask(endpoint, "GET", "/api/tags")).json["models"]]


async def test_an_unknown_pull_fails_inside_its_200_stream(endpoint: Endpoint) -> None:
    reply = await ask(endpoint, "POST", "/api/pull", {"model": "no-such-model"})
    assert (reply.status, reply.lines[-1]) == (200, {"error": "pull model manifest: file does not exist"})
    whole = await ask(endpoint, "POST", "/api/pull", {"model": "no-such-model", "stream": False})
    assert whole.status == 500


async def test_a_copy_and_a_derived_model_share_the_runner(endpoint: Endpoint) -> None:
    copied = await ask(endpoint, "POST", "/api/copy", {"source": "llama3", "destination": "mine"})
    assert (copied.status, copied.body) == (200, b"")
    made = await ask(endpoint, "POST", "/api/create", {"model": "wise", "from": "llama3", "system": "be wise"})
    assert made.lines[-1] == {"status": "success"}
    for model in ("llama3", "mine", "wise"):
        await ask(endpoint, "POST", "/api/generate", {"model": model})
    assert [row["name"] for row in (await ask(endpoint, "GET", "/api/ps")).json["models"]] == ["llama3:latest"]
    assert endpoint.pod.leasing.scheduler.loads == 1


async def test_another_num_ctx_reloads(endpoint: Endpoint) -> None:
    await ask(endpoint, "POST", "/api/create", {"model": "long", "from": "llama3", "parameters": {"num_ctx": 8192}})
    for model in ("llama3", "long"):
        await ask(endpoint, "POST", "/api/generate", {"model": model})
    (row,) = (await ask(endpoint, "GET", "/api/ps")).json["models"]
    assert (row["name"], row["context_length"]) == ("long:latest", 8192)


async def test_a_deleted_model_is_gone(endpoint: Endpoint) -> None:
    assert (await ask(endpoint, "DELETE", "/api/delete", {"model": "mistral:7b"})).status == 200
    again = await ask(endpoint, "DELETE", "/api/delete", {"model": "mistral:7b"})
    assert (again.status, again.json) == (404, {"error": "model 'mistral:7b' not found"})


async def test_an_upload_becomes_a_model(endpoint: Endpoint) -> None:
    digest = "sha256:" + hashlib.sha256(b"weights").hexdigest()
    assert (await ask(endpoint, "HEAD", f"/api/blobs/{digest}")).status == 404
    assert (await ask(endpoint, "POST", f"/api/blobs/{digest}", b"other")).status == 400
    assert (await ask(endpoint, "POST", f"/api/blobs/{digest}", b"weights")).status == 201
    assert (await ask(endpoint, "HEAD", f"/api/blobs/{digest}")).status == 200
    body = {"model": "tiny", "files": {"tiny.gguf": digest}, "stream": False}
    assert (await ask(endpoint, "POST", "/api/create", body)).json == {"status": "success"}
    assert (await ask(endpoint, "POST", "/api/generate", {"model": "tiny"})).json["done_reason"] == "load"


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("/api/chat", b"", 400, "missing request body"),
        ("/api/chat", {}, 400, "model is required"),
        ("/api/generate", {}, 404, "model '' not found"),
        ("/api/generate", {"model": "nope"}, 404, "model 'nope' not found"),
        ("/api/generate", {"model": "llama3", "keep_alive": "wild"}, 400, 'time: invalid duration "wild"'),
        ("/api/generate", {"model": "llama3", "prompt": "x", "options": {"num_ctx": "x"}}, 500, None),
        ("/api/show", {"model": ""}, 400, "model is required"),
        ("/api/copy", {"source": "nope", "destination": "x"}, 404, 'model "nope" not found'),
        ("/api/create", {"model": "x"}, 400, "neither 'from' or 'files' was specified"),
    ],
)
async def test_native_errors_are_a_sentence(
    endpoint: Endpoint, path: str, body: object, status: int, error: str | None
) -> None:
    reply = await ask(endpoint, "POST", path, body)
    assert reply.status == status
    assert error in (None, reply.json["error"])


async def test_unknown_paths_and_wrong_methods_are_plain_text(endpoint: Endpoint) -> None:
    unknown = await ask(endpoint, "GET", "/nope")
    assert (unknown.status, unknown.headers["content-type"], unknown.body) == (404, "text/plain", b"404 page not found")
    wrong = await ask(endpoint, "GET", "/api/chat")
    assert (wrong.status, wrong.headers["allow"], wrong.body) == (405, "POST", b"405 method not allowed")
    stray = await ask(endpoint, "POST", "/v1/chat/completions/", {})
    assert (stray.status, stray.headers["location"]) == (307, "/v1/chat/completions")


async def test_a_foreign_origin_or_host_is_refused_with_an_empty_body(endpoint: Endpoint) -> None:
    foreign = await ask(endpoint, "GET", "/api/version", Origin="http://evil.example")
    assert (foreign.status, foreign.body) == (403, b"")
    assert (await ask(endpoint, "GET", "/api/version", Host="evil.example")).status == 403
    local = await ask(endpoint, "GET", "/api/version", Origin="http://localhost:3000")
    assert local.headers["access-control-allow-origin"] == "http://localhost:3000"


async def test_a_connection_serves_requests_one_after_the_other(endpoint: Endpoint) -> None:
    client: Client = await connect(endpoint)
    client.send("GET", "/api/version")
    client.send("GET", "/")
    assert (await client.receive()).json == {"version": "0.33.0"}
    assert (await client.receive()).body == b"Ollama is running"
    await client.close()


async def test_bytes_other_than_http_are_refused(endpoint: Endpoint) -> None:
    client = await connect(endpoint)
    client.writer.write(b"nonsense\r\n\r\n")
    assert (await client.reader.read()).startswith(b"HTTP/1.1 400 Bad Request")
    await client.close()


async def test_endpoints_with_settings_of_their_own_differ() -> None:
    async with Simulator([Settings(models=("a",)), Settings(models=("b",))]) as simulator:
        names = [(await ask(one, "GET", "/api/tags")).json["models"][0]["name"] for one in simulator.endpoints]
    assert names == ["a:latest", "b:latest"]


async def shown(endpoint: Endpoint, model: str) -> dict[str, Any]:
    """An answer of /api/show."""
    answer: dict[str, Any] = (await ask(endpoint, "POST", "/api/show", {"model": model})).json
    return answer


async def loaded(endpoint: Endpoint) -> list[dict[str, Any]]:
    """The rows of /api/ps."""
    rows: list[dict[str, Any]] = (await ask(endpoint, "GET", "/api/ps")).json["models"]
    return rows


async def digests(endpoint: Endpoint) -> dict[str, str]:
    """The digests of /api/tags, by name."""
    return {row["name"]: row["digest"] for row in (await ask(endpoint, "GET", "/api/tags")).json["models"]}


async def create(endpoint: Endpoint, name: str, **changes: Any) -> None:
    """A model derived from llama3."""
    body = {"model": name, "from": "llama3", "stream": False, **changes}
    assert (await ask(endpoint, "POST", "/api/create", body)).json == {"status": "success"}


async def test_show_names_the_file_and_the_parameters_as_ollama_writes_them(endpoint: Endpoint) -> None:
    """Models with other parameters share the file. Go writes a million and more with an exponent."""
    await create(endpoint, "long", parameters={"num_ctx": 1048576, "temperature": 0.5, "stop": ["a b", "x\n"]})
    base, derived = await shown(endpoint, "llama3"), await shown(endpoint, "long")
    assert base["modelfile"].splitlines()[:4] == [
        '# Modelfile generated by "ollama show"',
        "# To build a new Modelfile based on this, replace FROM with:",
        "# FROM llama3:latest",
        "",
    ]
    weights = read_weights(encode(base))
    assert weights is not None
    assert f"\nFROM /root/.ollama/models/blobs/sha256-{weights.blob}\n" in base["modelfile"]
    assert read_weights(encode(derived)) == Weights(weights.blob, 1048576)
    assert "parameters" not in base
    assert derived["parameters"].splitlines() == [
        "num_ctx                        1.048576e+06",
        "temperature                    0.5",
        'stop                           "a b"',
        'stop                           "x\\n"',
    ]


async def test_a_loaded_model_keeps_the_digest_of_its_load(endpoint: Endpoint) -> None:
    """However its name is made anew meanwhile, or deleted: that unloads nothing."""
    await create(endpoint, "mine", parameters={"temperature": 0.5})
    before = (await digests(endpoint))["mine:latest"]
    await ask(endpoint, "POST", "/api/generate", {"model": "mine"})
    await create(endpoint, "mine", parameters={"temperature": 0.7})
    assert (await digests(endpoint))["mine:latest"] != before
    await ask(endpoint, "POST", "/api/generate", {"model": "mine"})
    assert [(row["name"], row["digest"]) for row in await loaded(endpoint)] == [("mine:latest", before)]
    assert (await ask(endpoint, "DELETE", "/api/delete", {"model": "mine"})).status == 200
    (row,) = await loaded(endpoint)
    assert (row["name"], row["digest"], row["details"]["family"]) == ("mine:latest", before, "llama")
    gone = await ask(endpoint, "POST", "/api/generate", {"model": "mine", "keep_alive": 0})
    assert gone.status == 404
    await ask(endpoint, "POST", "/api/generate", {"model": "llama3", "keep_alive": 0})
    assert await loaded(endpoint) == []


async def test_equal_changes_have_equal_digests(endpoint: Endpoint) -> None:
    """A digest is of the manifest, in which no name stands."""
    for name in ("a", "b"):
        await create(endpoint, name, parameters={"num_ctx": 512})
    found = await digests(endpoint)
    assert found["a:latest"] == found["b:latest"] != found["llama3:latest"]


async def test_an_empty_embed_loads_any_model_and_keep_alive_zero_unloads_it(endpoint: Endpoint) -> None:
    """Only embedding with a chat model is refused."""
    for model in ("llama3", "nomic-embed-text"):
        assert (await ask(endpoint, "POST", "/api/embed", {"model": model})).json == {"model": model, "embeddings": []}
        assert [row["name"] for row in await loaded(endpoint)] == [f"{model}:latest"]
        unloaded = await ask(endpoint, "POST", "/api/generate", {"model": model, "keep_alive": 0})
        assert (unloaded.status, unloaded.json["done_reason"]) == (200, "unload")
        assert await loaded(endpoint) == []
    refused = await ask(endpoint, "POST", "/api/embed", {"model": "llama3", "input": "hi"})
    assert refused.status == 501


async def test_the_context_of_a_loaded_model_is_at_most_that_of_its_training(endpoint: Endpoint) -> None:
    """As /api/ps shows it."""
    await create(endpoint, "long", parameters={"num_ctx": 1048576})
    await ask(endpoint, "POST", "/api/generate", {"model": "long"})
    assert [row["context_length"] for row in await loaded(endpoint)] == [131072]
