"""What reaches Ollama of a request: mended where Ollama would misread it, without what is not its business."""

import json
from typing import Any

import pytest
from tests.flow.world import CHAT, Served, World, chat

from ai_gateway.simulator import Simulator


def sent(simulator: Simulator) -> dict[str, Any]:
    """The body of the last call that an endpoint received, each key once."""
    pairs: list[tuple[str, Any]] = json.loads(simulator.endpoints[0].ledger.last[-1].body, object_pairs_hook=list)
    fields = json.loads(simulator.endpoints[0].ledger.last[-1].body)
    assert len(pairs) == len(fields)
    assert isinstance(fields, dict)
    return fields


@pytest.fixture
async def simulator(world: World) -> Simulator:
    """One endpoint."""
    return await world.simulator()


@pytest.fixture
async def served(world: World, simulator: Simulator) -> Served:
    """A gateway over it."""
    return await world.gateway(simulator.urls)


async def test_the_model_is_sent_under_ollamas_name(served: Served, simulator: Simulator) -> None:
    """An alias becomes the name with its tag, and the configured limit holds where the client sets none."""
    assert (await served.chat(model="code")).status == 200
    assert sent(simulator)["model"] == "codellama:13b"
    assert sent(simulator)["max_tokens"] == 7
    assert (await served.chat(model="code", max_tokens=3)).status == 200
    assert sent(simulator)["max_tokens"] == 3
    assert (await served.chat(model="code", max_tokens=None)).status == 200
    assert sent(simulator)["max_tokens"] == 7


async def test_max_completion_tokens_becomes_max_tokens(served: Served, simulator: Simulator) -> None:
    """Ollama ignores the newer name; max_tokens goes before it."""
    await served.chat(max_completion_tokens=4, model="code")
    assert sent(simulator)["max_tokens"] == 4
    assert "max_completion_tokens" not in sent(simulator)
    await served.chat(max_completion_tokens=4, max_tokens=2)
    assert sent(simulator)["max_tokens"] == 2


async def test_the_developer_role_becomes_system(served: Served, simulator: Simulator) -> None:
    """Also when its letters are written as escapes."""
    messages = b'[{"role":"\\u0064eveloper","content":"be brief"},{"role":"user","content":"developer"}]'
    await served.ask("POST", CHAT, b'{"model":"llama3","messages":' + messages + b"}")
    assert [message["role"] for message in sent(simulator)["messages"]] == ["system", "user"]
    assert sent(simulator)["messages"][1]["content"] == "developer"


async def test_tool_choice_none_removes_the_tools(served: Served, simulator: Simulator) -> None:
    """Ollama ignores the choice, so there must be nothing to choose; `auto` is what it does anyway."""
    tools = [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}]
    await served.chat(tools=tools, tool_choice="none", max_tokens=1)
    assert not {"tools", "tool_choice"} & set(sent(simulator))
    await served.chat(tools=tools, tool_choice="auto", max_tokens=1, model="llama3")
    assert sent(simulator)["tools"] == tools
    assert "tool_choice" not in sent(simulator)


async def test_what_the_gateway_does_not_know_passes(served: Served, simulator: Simulator) -> None:
    """Unknown fields, numbers as they were written, response_format, logprobs, reasoning, seeds."""
    more = b'"x_new":{"a":[1.50,1e3,null]},"temperature":0.70,"seed":9007199254740993,"logprobs":true,"top_logprobs":2'
    body = (
        b'{"model":"llama3","messages":[{"role":"user","content":"h\\u00e9 \\ud83d\\ude00"}],"max_tokens":1,'
        + more
        + b"}"
    )
    assert (await served.ask("POST", CHAT, body)).status == 200
    raw = simulator.endpoints[0].ledger.last[-1].body
    assert more in raw
    assert sent(simulator)["messages"] == [{"role": "user", "content": "hé 😀"}]


async def test_usage_is_always_asked_of_a_stream(served: Served, simulator: Simulator) -> None:
    """`stream_options` is written anew, whole; without a stream it is not sent."""
    await served.chat(stream=True, max_tokens=1)
    assert sent(simulator)["stream_options"] == {"include_usage": True}
    options = {"include_usage": False, "Include_Usage": False, "x": 1}
    await served.chat(stream=True, max_tokens=1, stream_options=options)
    assert sent(simulator)["stream_options"] == {"include_usage": True}
    await served.chat(max_tokens=1, stream_options={"include_usage": True})
    assert "stream_options" not in sent(simulator)


async def test_private_things_never_reach_ollama(served: Served, simulator: Simulator) -> None:
    """Keys, cookies, origins, forwarded and hop-by-hop headers, and fields by which a client could steer a pod."""
    headers = {
        "authorization": "Bearer sk-secret",
        "api-key": "sk-secret",
        "cookie": "session=secret",
        "origin": "http://localhost",
        "referer": "https://secret.example/",
        "x-forwarded-for": "10.9.9.9",
        "forwarded": "for=10.9.9.9",
        "x-real-ip": "10.9.9.9",
        "connection": "keep-alive, x-hop",
        "x-hop": "1",
        "te": "trailers",
        "proxy-authorization": "Basic c2VjcmV0",
        "accept-encoding": "gzip",
        "user-agent": "OpenAI/Python 9",
        "openai-organization": "secret-org",
        "range": "bytes=0-1",
    }
    more: dict[str, Any] = {
        "options": {"num_ctx": 1},
        "keep_alive": -1,
        "_debug_render_only": True,
        "n": 1,
        "max_tokens": 1,
    }
    reply = await served.ask("POST", CHAT, chat(**more), headers)
    assert reply.status == 200, reply.body
    request = simulator.endpoints[0].ledger.last[-1]
    names = [name for name, _ in request.headers]
    own = {"host", "content-type", "content-length", "accept-encoding", "user-agent", "traceparent"}
    assert set(names) <= own
    assert len(names) == len(set(names))
    assert "secret" not in str(request.headers)
    assert dict(request.headers)["host"] == simulator.addresses[0]
    assert not {"options", "keep_alive", "_debug_render_only", "n"} & set(sent(simulator))


@pytest.mark.parametrize(
    "key",
    [
        "Model",
        "MODEL",
        "\u017ftream",
        "me\u017fsages",
        "Keep_alive",
        "\u212aeep_alive",
        "Messages",
        "OPTIONS",
        "Stream_Options",
    ],
)
async def test_a_key_that_differs_by_case_alone_is_refused(served: Served, simulator: Simulator, key: str) -> None:
    """Go would read it as the known key, last one wins: 400 with its `param`, raw or escaped."""
    known = {"model": "llama3", "messages": [{"role": "user", "content": "x"}]}
    for ascii_only in (True, False):
        body = json.dumps({**known, key: "codellama:13b"}, ensure_ascii=ascii_only).encode()
        reply = await served.ask("POST", CHAT, body)
        assert (reply.status, reply.error["param"], reply.error["type"]) == (400, key, "invalid_request")
    assert not simulator.endpoints[0].ledger.last


@pytest.mark.parametrize(
    "twice",
    [
        b'"model":"codellama:13b"',
        b'"mod\\u0065l":"codellama:13b"',
        b'"messages":[]',
        b'"x":1,"x":2',
        b'"x":1,"X":2',
        b'"stream":true,"stream":false',
    ],
)
async def test_a_doubled_key_is_refused(served: Served, simulator: Simulator, twice: bytes) -> None:
    """Before or behind the other one: never repaired."""
    once = b'"model":"llama3","messages":[{"role":"user","content":"x"}]'
    for body in (b"{" + once + b"," + twice + b"}", b"{" + twice + b"," + once + b"}"):
        reply = await served.ask("POST", CHAT, body)
        assert (reply.status, reply.error["code"]) == (400, "duplicate_key")
        assert reply.error["param"]
    assert not simulator.endpoints[0].ledger.last


async def test_key_like_text_inside_values_is_no_doubled_key(served: Served) -> None:
    """`"model":` inside a message or a nested object is content."""
    reply = await served.chat(
        '"model": "x", "model": "y"', metadata={"model": "a", "nested": {"model": "b"}}, max_tokens=1
    )
    assert reply.status == 200


async def test_images_are_taken_as_data_urls_alone(served: Served, simulator: Simulator) -> None:
    """http(s), file and the like are refused with their place: fetching would reach into the cluster."""
    for url in ("http://169.254.169.254/latest", "https://x.example/a.png", "file:///etc/passwd", "HTTP://x/"):
        for image in ({"url": url}, url):
            content = [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": image}]
            body = {"model": "llama3", "messages": [{"role": "user", "content": content}]}
            reply = await served.ask("POST", CHAT, json.dumps(body).encode())
            assert (reply.status, reply.error["code"]) == (400, "image_url_unsupported")
            assert reply.error["param"] == "messages[0].content[1].image_url"
    assert not simulator.endpoints[0].ledger.last


@pytest.mark.parametrize("tokens", [[1, 2, 3], [[1, 2], [3]]])
async def test_token_arrays_get_an_error_that_names_the_setting(served: Served, tokens: Any) -> None:
    """langchain-openai sends token ids by default; the message says what to change."""
    reply = await served.ask("POST", "/v1/embeddings", json.dumps({"model": "embed", "input": tokens}).encode())
    assert (reply.status, reply.error["param"]) == (400, "input")
    assert "check_embedding_ctx_length=False" in reply.error["message"]


async def test_embeddings_input_is_checked(served: Served, simulator: Simulator) -> None:
    """Absent, empty, of a wrong kind, streamed: 400 with its `param`."""
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": {"a": 1}}, "input"),
        ({"input": ["a", 1]}, "input"),
        ({"input": "x", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "x", "dimensions": 0}, "dimensions"),
        ({"input": "x", "stream": True}, "stream"),
    ]
    for more, param in cases:
        reply = await served.ask("POST", "/v1/embeddings", json.dumps({"model": "embed", **more}).encode())
        assert (reply.status, reply.error["param"]) == (400, param)
    reply = await served.ask("POST", "/v1/completions", json.dumps({"model": "code", "prompt": [1, 2]}).encode())
    assert (reply.status, reply.error["param"]) == (400, "prompt")
    assert not simulator.endpoints[0].ledger.last


async def test_a_body_in_small_pieces_is_read_whole(served: Served, simulator: Simulator) -> None:
    """Chunked and byte by byte, the call is the same."""
    line = await served.open()
    head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    await line.write(f"{head}transfer-encoding: chunked\r\n\r\n".encode())
    for byte in chat("ä", max_tokens=1):
        await line.write(b"1\r\n%c\r\n" % byte)
    await line.write(b"0\r\nauthorization: Bearer trailer\r\n\r\n")
    reply = await line.reply()
    line.leave()
    assert reply.status == 200, reply.body
    assert sent(simulator)["messages"][0]["content"] == "ä"
    assert "trailer" not in str(simulator.endpoints[0].ledger.last[-1].headers)
