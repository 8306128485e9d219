"""What the API promises for refusals: one shape, types by status, stable codes, and whether to retry."""

import json
from typing import Any

import pytest
from tests.flow.upstream import Upstream, Visit, answer, answer_well, whole
from tests.flow.world import CHAT, Served, World, chat

from ai_gateway.simulator.faults import Fault


async def refused(served: Served, body: bytes, path: str = CHAT, **headers: str) -> tuple[int, dict[str, Any]]:
    """Status and error object of a refused POST."""
    reply = await served.ask("POST", path, body, headers)
    return reply.status, reply.error


async def test_an_unknown_path_is_a_404_that_names_what_is_served(world: World) -> None:
    """Also /api, audio, doubled or trailing slashes, other case: never a redirect."""
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls)
    paths = ["/api/chat", "/api/tags", "/api/generate", "/v1/audio/speech", "/v1"]
    paths += [
        f"{CHAT}/",
        "/v1//chat/completions",
        "/V1/chat/completions",
        "/v1/../api/tags",
        "/v1/models//../../api/ps",
    ]
    before = simulator.endpoints[0].ledger.by_path.copy()
    for path in paths:
        status, error = await refused(served, chat(), path)
        assert (status, error["type"]) in ((404, "invalid_request"), (405, "invalid_request")), path
        if path != "/v1/models//../../api/ps":
            assert error["code"] == "not_found"
            assert CHAT in error["message"]
    after = simulator.endpoints[0].ledger.by_path
    assert {path for path in after if after[path] > before[path]} <= {
        "/api/version",
        "/api/tags",
        "/api/ps",
        "/api/show",
    }


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/responses/r_1", "/v1/messages", "/v1/messages/count_tokens"])
async def test_an_api_that_is_not_served_is_no_404(world: World, path: str) -> None:
    """Clients read one as a model that does not exist; they show the sentence of a 400."""
    served = await world.gateway((await world.simulator()).urls)
    status, error = await refused(served, chat(), path)
    assert (status, error["type"], error["code"]) == (400, "invalid_request", "unsupported_route")
    assert "is not served here" in error["message"]
    assert CHAT in error["message"]


async def test_a_wrong_method_is_a_405_with_allow(world: World) -> None:
    """In the error shape; HEAD without a body."""
    served = await world.gateway((await world.simulator()).urls)
    for method, path, allow in [
        ("GET", CHAT, "POST"),
        ("DELETE", "/v1/models/llama3", "GET, HEAD"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("OPTIONS", CHAT, "POST"),
        ("PATCH", "/v1/health", "GET, HEAD"),
    ]:
        reply = await served.ask(method, path)
        assert (reply.status, reply.error["code"]) == (405, "method_not_allowed")
        assert reply.error["type"] == "invalid_request"
        assert reply.header("allow") == allow
    head = await served.ask("HEAD", CHAT)
    assert head.status == 405


async def test_a_body_that_is_not_json_in_utf8_is_refused(world: World) -> None:
    """415 for what is said to be something else, 400 for what is something else."""
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls)
    for media_type in ("text/html", "text/json", "multipart/form-data; boundary=x", "application/json; charset=utf-16"):
        reply = await served.ask("POST", CHAT, chat(), {"content-type": media_type})
        assert (reply.status, reply.error["code"], reply.error["type"]) == (
            415,
            "unsupported_media_type",
            "invalid_request",
        )
    bodies = [b"", b"{", b"[]", b"null", b'"x"', b"{}{}", chat() + b"x", b"\xef\xbb\xbf" + chat(), b'{"model":"\xff"}']
    bodies += [b'{"model":"llama3","messages":[{"role":"user","con\\ud800":"x"}]}', b'{"model":NaN}']
    bodies += [b'{"model":"llama3","messages":' + b"[" * 40 + b"]" * 40 + b"}", b"[" * 100_000]
    for body in bodies:
        status, error = await refused(served, body)
        assert (status, error["type"], error["code"]) == (400, "invalid_request", "invalid_json"), body[:60]
    for media_type in ("application/json; charset=UTF-8", "Application/JSON", 'application/json;charset="utf-8"'):
        assert (await served.ask("POST", CHAT, chat(max_tokens=1), {"content-type": media_type})).status == 200


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 7}, "model"),
        ({"model": ["llama3"]}, "model"),
        ({"model": ""}, "model"),
        ({"model": "x" * 10_000}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"stream": "yes"}, "stream"),
        ({"stream": 1}, "stream"),
        ({"stream": True, "stream_options": []}, "stream_options"),
        ({"stream": True, "stream_options": {"include_usage": "x"}}, "stream_options"),
        ({"n": 2}, "n"),
        ({"n": 1000}, "n"),
        ({"n": 0}, "n"),
        ({"n": "1"}, "n"),
        ({"max_tokens": -3}, "max_tokens"),
        ({"temperature": "1"}, "temperature"),
        ({"max_tokens": 1e12}, "max_tokens"),
        ({"max_tokens": "10"}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
    ],
)
async def test_an_error_names_the_wrong_field(world: World, more: dict[str, Any], param: str) -> None:
    """400 with `param`, and nothing reaches Ollama."""
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls)
    body = {"model": "llama3", "messages": [{"role": "user", "content": "x"}], **more}
    status, error = await refused(served, json.dumps(body).encode())
    assert (status, error["type"], error["param"]) == (400, "invalid_request", param)
    assert not simulator.endpoints[0].ledger.last


async def test_a_model_outside_the_config_is_404_and_never_sent(world: World) -> None:
    """Paths, hosts, cloud names, other tags, Ollama's own names: only ids and aliases, as Ollama reads them."""
    simulator = await world.simulator(models=("llama3:latest", "gpt-oss:120b-cloud", "x:cloud"))
    served = await world.gateway(simulator.urls)
    names = ["nope", "../../etc/passwd", "a/../b", "//x", "http://evil/x", "evil.com/ns/m", "llama3:8b", "x/llama3"]
    names += ["gpt-oss:120b-cloud", "x:cloud", "\uff4clama3", "llama3 ", "code\u0000", "codellama:13b"]
    for name in names:
        status, error = await refused(served, chat(model=name))
        assert (status, error["code"], error["type"], error["param"]) == (
            404,
            "model_not_found",
            "invalid_request",
            "model",
        )
    assert (await served.ask("GET", "/v1/models/nope")).error["code"] == "model_not_found"
    assert (await served.ask("GET", "/v1/models/nope")).status == 404
    assert not simulator.endpoints[0].ledger.last


async def test_a_model_on_no_endpoint_is_model_missing(world: World) -> None:
    """In the config, endpoints up, none has it: 503 that says not to retry."""
    served = await world.gateway((await world.simulator(models=("codellama:13b",))).urls)
    reply = await served.chat()
    assert (reply.status, reply.error["code"], reply.error["type"]) == (503, "model_missing", "backend_unavailable")
    assert reply.header("x-should-retry") == "false"
    assert reply.header("retry-after")
    assert (await served.get("/v1/models/llama3"))["state"] == "missing"
    assert (await served.get("/v1/health"))["ollama"] == "degraded"


async def test_without_an_endpoint_a_call_is_refused_at_once(world: World) -> None:
    """503 no_endpoint with when to come back, and Ollama's return is noticed."""
    simulator = await world.simulator()
    simulator.endpoints[0].kill()
    served = await world.gateway(simulator.urls)
    for _ in range(2):
        reply = await served.chat()
        assert (reply.status, reply.error["code"], reply.error["type"]) == (503, "no_endpoint", "backend_unavailable")
        assert int(reply.header("retry-after") or "") >= 1
        assert int(reply.header("retry-after-ms") or "") >= 1
        assert reply.header("x-should-retry") is None
    assert (await served.get("/v1/models/llama3"))["state"] == "unavailable"
    simulator.endpoints[0].restart()
    while (await served.chat(max_tokens=1)).status != 200:
        pass


UPSTREAM_ERRORS: list[tuple[str, bytes, int, str, str]] = [
    (
        "400 Bad Request",
        b'{"error":{"message":"bad thing here","type":"x"}}',
        400,
        "upstream_rejected",
        "bad thing here",
    ),
    ("400 Bad Request", b'{"error":"native words"}', 400, "upstream_rejected", "native words"),
    (
        "400 Bad Request",
        b'{"error":{"message":"exceed_context_size_error: request (9) exceeds"}}',
        400,
        "context_length_exceeded",
        "exceed",
    ),
    ("400 Bad Request", b'{"error":{"message":"x does not support tools"}}', 400, "model_lacks_capability", "tools"),
    ("422 Unprocessable", b'{"error":"not like this"}', 422, "upstream_rejected", "not like"),
    ("501 Not Implemented", b'{"error":"this model cannot embed"}', 400, "model_lacks_capability", "cannot embed"),
    ("401 Unauthorized", b'{"error":"unauthorized"}', 502, "upstream_refused", "401"),
    ("403 Forbidden", b"", 502, "upstream_refused", "403"),
    ("302 Found", b"", 502, "upstream_refused", "302"),
    ("204 No Content", b"", 502, "upstream_refused", "204"),
    ("500 Internal Server Error", b'{"error":"runner secret"}', 502, "upstream_error", "failed"),
    ("502 Bad Gateway", b"<html>", 502, "upstream_error", "failed"),
    ("503 Service Unavailable", b'{"error":"server busy"}', 503, "upstream_busy", "busy"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("row", UPSTREAM_ERRORS)
async def test_ollamas_errors_become_ours(world: World, stream: bool, row: tuple[str, bytes, int, str, str]) -> None:
    """The table of the API, for whole answers and before the first byte of streams: JSON with its status."""
    line, body, status, code, words = row

    async def act(visit: Visit) -> None:
        await visit.say(whole(body, line, ("location: http://127.0.0.1:9/", "set-cookie: a=b")))
        visit.hang_up()

    served = await world.gateway([(await world.upstream(act)).url])
    reply = await served.chat(stream=stream)
    assert (reply.status, reply.error["code"]) == (status, code)
    assert words in reply.error["message"]
    assert "secret" not in reply.error["message"]
    assert reply.error["type"] == ("invalid_request" if status < 500 else "backend_unavailable")
    assert (reply.header("retry-after") is not None) == (status == 503)
    assert reply.header("set-cookie") is None
    assert reply.header("location") is None


@pytest.mark.parametrize("kind", ["invalid_json", "html", "empty", "array", "wrong_type"])
@pytest.mark.parametrize("path", [CHAT, "/v1/embeddings"])
async def test_an_unreadable_answer_is_502(world: World, kind: Any, path: str) -> None:
    """Whatever stands in a 200 that is no answer; the record tells the operator."""
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls)
    simulator.endpoints[0].faults.add(Fault(kind="garbage", body=kind))
    body = json.dumps({"model": "embed", "input": "x"}).encode() if path != CHAT else chat()
    reply = await served.ask("POST", path, body)
    assert (reply.status, reply.error["code"]) == (502, "upstream_disconnected")
    record = await served.recorded()
    assert (record.outcome.kind, record.outcome.status) == ("upstream_broke", 502)
    assert record.outcome.reason


@pytest.mark.parametrize(
    "act_name",
    ["rst_before_head", "fin_before_head", "rst_mid_body", "fin_mid_body", "garbage", "half_head", "cut_short"],
)
async def test_a_broken_whole_answer_is_502(world: World, act_name: str) -> None:
    """Whatever way the one endpoint breaks, the client gets an error in the shape, and at once."""
    body = answer()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()

    async def act(visit: Visit) -> None:
        match act_name:
            case "rst_mid_body" | "fin_mid_body":
                await visit.say(head + body[:10])
            case "garbage":
                await visit.say(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
            case "half_head":
                await visit.say(b"HTTP/1.1 200 OK\r\ncontent-ty")
            case "cut_short":
                await visit.say(b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{"id\r\n')
        if act_name.startswith("rst"):
            visit.reset()
        else:
            visit.hang_up()

    served = await world.gateway([(await world.upstream(act)).url])
    reply = await served.chat()
    assert (reply.status, reply.error["type"]) == (502, "backend_unavailable")
    assert reply.error["code"] == "upstream_disconnected"
    assert (await served.recorded()).outcome.kind == "upstream_broke"


async def test_a_second_answer_in_one_breath_is_never_given_to_the_next_call(world: World) -> None:
    """An endpoint that sends two answers to one call: nobody gets an answer that is not his."""

    async def act(visit: Visit) -> None:
        if len(upstream.visits) == 1:
            await visit.say(whole(answer("first")) + whole(answer("second")))
        else:
            await visit.say(whole(answer("mine")))

    upstream = await world.upstream(act)
    served = await world.gateway([upstream.url])
    first = await served.chat()
    assert first.status == 502 or first.json["choices"][0]["message"]["content"] == "first"
    assert (await served.chat()).json["choices"][0]["message"]["content"] == "mine"


async def test_nothing_of_ollamas_headers_reaches_a_client(world: World) -> None:
    """Set-Cookie, Server and the like are dropped; a cookie is never sent back to an endpoint."""

    async def act(visit: Visit) -> None:
        headers = ("content-type: application/json", "set-cookie: s=1", "server: ollama", "x-inner: 1", "vary: cookie")
        await visit.say(whole(answer(), headers=headers))

    upstream = await world.upstream(act)
    served = await world.gateway([upstream.url])
    for _ in range(2):
        reply = await served.chat()
        assert {name for name, _ in reply.headers} == {
            "date",
            "content-type",
            "content-length",
            "x-request-id",
            "x-trace-id",
            "x-ai-gateway-reason",
        }
    assert "cookie" not in upstream.visits[1].headers


async def test_a_refused_request_leaves_its_connection_usable(world: World) -> None:
    """A body that nobody read is not taken for the next request."""
    served = await world.gateway((await world.simulator()).urls)
    line = await served.open()
    await line.send("POST", "/v1/nowhere", b"GET /v1/health HTTP/1.1\r\nhost: localhost\r\n\r\n")
    assert (await line.reply()).status == 404
    await line.send("POST", CHAT, b"{", {})
    assert (await line.reply()).status == 400
    await line.send("POST", CHAT, chat(max_tokens=1))
    assert (await line.reply()).status == 200
    line.leave()


async def test_an_answer_with_unknown_fields_keeps_them(world: World) -> None:
    """Whatever Ollama adds to an answer reaches the client; only `id` and `model` are ours."""

    async def act(visit: Visit) -> None:
        await visit.say(whole(answer("1", system_fingerprint="fp", _debug_info={"a": [1, 2.50, None]}, model="other")))

    served = await world.gateway([(await world.upstream(act)).url])
    content = (await served.chat()).json
    assert content["_debug_info"] == {"a": [1, 2.5, None]}
    assert content["system_fingerprint"] == "fp"
    assert content["model"] == "llama3"


async def test_a_missing_finish_reason_is_no_success(world: World) -> None:
    """A whole answer that Ollama's loop guard cut (finish_reason null) is 502."""
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls)
    simulator.endpoints[0].faults.add(Fault(kind="loop_guard"))
    reply = await served.chat(max_tokens=9)
    assert (reply.status, reply.error["code"]) == (502, "upstream_disconnected")


async def test_an_unknown_host_that_answers_is_not_an_ollama(world: World) -> None:
    """An address where something else listens is down, with the reason in health."""
    stranger = Upstream(answer_well, state={"/api/version": whole(b"[]")})
    await stranger.start()
    try:
        served = await world.gateway([stranger.url])
        content = await served.get("/v1/health")
        assert content["endpoints"][0]["state"] == "down"
        assert "Ollama" in content["endpoints"][0]["complaint"]
    finally:
        await stranger.stop()
