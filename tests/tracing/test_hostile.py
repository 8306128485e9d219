"""Any request leaves spans that a collector can read, of a bounded size, and harms no other request."""

import json
from typing import Any

import pytest
from tests.flow.upstream import answer_well
from tests.flow.world import CHAT, Served, World, chat
from tests.tracing.receiver import Span
from tests.tracing.traced import Traced

MAX_SPAN_BYTES = 40_000
HUGE = "9" * 400


async def serving(world: World, traced: Traced) -> Served:
    """A gateway over a healthy endpoint."""
    return await traced.gateway(world, [(await world.upstream(answer_well)).url])


def weight(span: Span) -> int:
    """Bytes of all that a span says."""
    return len(json.dumps([span.name, span.attributes, span.events, span.state]).encode())


@pytest.mark.parametrize(
    "fields",
    [
        f'"temperature":{HUGE}', f'"seed":{HUGE}', f'"top_k":-{HUGE}', '"temperature":1e308', '"seed":1e3',
        '"temperature":true', '"seed":false', '"temperature":"hot"', '"temperature":{}', '"top_p":[]',
        '"response_format":{"type":[]}', '"response_format":{"type":{}}', '"response_format":{"type":null}',
        '"response_format":[]', '"response_format":"json"', '"stop":["a",1]', '"stop":[[]]', '"stop":{}', '"stop":[]',
        '"stop":"\\u0000\\u001b[31m"', '"stop":["\\ud83d\\ude00"]', '"stop":"' + "x" * 100_000 + '"',
        '"encoding_format":{}', f'"dimensions":{HUGE}', '"user":"\\u202e"',
    ],
)  # fmt: skip
async def test_no_parameter_of_a_call_prevents_its_record(world: World, traced: Traced, fields: str) -> None:
    """An answer or a refusal comes, the connection stays, spans and the other readers have their record."""
    served = await serving(world, traced)
    line = await served.begin(chat()[:-1] + f",{fields}}}".encode())
    status = (await line.reply()).status
    assert status in (200, 400)
    await line.send("POST", CHAT, chat())
    assert (await line.reply()).status == 200
    assert len(served.exchanges) == 2
    odd, plain = await traced.requests(2)
    assert len(odd.children) == (1 if status == 200 else 0)
    assert len(plain.children) == 1
    assert all(weight(span) < MAX_SPAN_BYTES for span in (odd, *odd.children))


def head(line: bytes = b"GET /v1/models HTTP/1.1", **fields: bytes) -> bytes:
    """A request's head; a `host` unless one is given."""
    lines = {"host": b"gateway.test"} | fields
    pairs = (name.replace("_", "-").encode() + b": " + value for name, value in lines.items())
    return b"\r\n".join([line, *pairs, b"", b""])


HEADS: dict[str, tuple[bytes, dict[str, Any]]] = {
    "plain": (head(), {"server.address": "gateway.test", "url.path": "/v1/models"}),
    "host with a port": (head(host=b"Gateway.test:8443"), {"server.address": "gateway.test", "server.port": 8443}),
    "host of version 6": (head(host=b"[::1]:80"), {"server.address": "::1", "server.port": 80}),
    "host with no port that is one": (head(host=b"a.test:99999"), {"server.address": None, "server.port": None}),
    "half a host": (head(host=b"[::1"), {"server.address": None, "server.port": None}),
    "no host": (head(host=b""), {"server.address": None}),
    "bytes for a name": (head(user_agent=b"\xff\xfe\x80"), {"user_agent.original": "\xff\xfe\x80"}),
    "a long name": (head(user_agent=b"x" * 9000), {"user_agent.original": "x" * 1024}),
    "a long path": (head(b"GET /" + b"x" * 10_000 + b" HTTP/1.1"), {"url.path": "/" + "x" * 1023}),
    "a path that is no text": (head(b"GET /%ff%00%1b%0d%0a HTTP/1.1"), {"url.path": "/\ufffd\0\x1b\r\n"}),
    "half a pair of surrogates": (head(b"GET /%ed%a0%80 HTTP/1.1"), {"url.path": "/\ufffd\ufffd\ufffd"}),
    "a question": (head(b"GET /v1/models?a=%ff&b=\x7e HTTP/1.1"), {"url.query": "a=%ff&b=~"}),
    "an old version": (head(b"GET /v1/models HTTP/1.0"), {"network.protocol.version": "1.0"}),
    "an odd state": (head(traceparent=b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01", tracestate=b"\xff=\x01"), {}),
    "much baggage": (head(baggage=b"a=" + b"x" * 9000), {}),
    "many names": (head(**{f"x_{number}": b"y" * 90 for number in range(60)}), {}),
}


@pytest.mark.parametrize("case", HEADS)
async def test_no_head_leaves_a_span_that_cannot_be_read(
    world: World, traced: Traced, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """Though all headers are asked for; one that says nothing is left out."""
    monkeypatch.setenv("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST", ".*")
    served = await serving(world, traced)
    data, said = HEADS[case]
    line = await served.open()
    await line.write(data)
    reply = await line.reply()
    if not served.exchanges:  # refused before it was a request: there is no span of it
        assert reply.status in (400, 414, 431)
        await served.get("/v1/models")
        said = {}
    (server,) = await traced.requests()
    assert {name: server.attributes.get(name) for name in said} == said
    assert weight(server) < MAX_SPAN_BYTES


@pytest.mark.parametrize("path", ["/v1/models/nope", "/v1/models/" + "x" * 3000, "/wp-admin/" + "y" * 500, "//"])
async def test_a_name_never_holds_what_a_client_wrote(world: World, traced: Traced, path: str) -> None:
    """The pattern of the path, or the method alone."""
    served = await serving(world, traced)
    await served.ask("GET", path)
    (server,) = await traced.requests()
    assert server.name in ("GET", "GET /v1/models/{model}")
