"""Bodies and their memory, cross-origin rules, trusted proxies, and endpoints behind TLS."""

import asyncio
import json
import ssl
from pathlib import Path

import pytest
import trustme
from tests.flow.upstream import Upstream, Visit, answer_well
from tests.flow.waiting import until
from tests.flow.world import CHAT, World, chat

SMALL = {"max_bytes": 1000, "buffered_bytes": 2500}
APP = "https://app.example"


def sized(size: int) -> bytes:
    """A chat call of exactly so many bytes."""
    return chat("x" * (size - len(chat(""))))


async def test_a_body_over_the_limit_is_413(world: World) -> None:
    """By its announced length before anything of it is read, and by what comes; the limit itself passes."""
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls, body=SMALL)
    assert (await served.ask("POST", CHAT, sized(1000))).status == 200
    reply = await served.ask("POST", CHAT, sized(1001))
    assert (reply.status, reply.error["code"], reply.error["type"]) == (413, "body_too_large", "invalid_request")
    head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n".encode()
    announced = await served.open()
    await announced.write(head + b"content-length: 1000000000\r\n\r\n{")
    assert (await announced.reply()).status == 413
    chunked = await served.open()
    await chunked.write(head + b"transfer-encoding: chunked\r\n\r\n" + b"400\r\n" + b"x" * 1024 + b"\r\n")
    assert (await chunked.reply()).error["code"] == "body_too_large"
    assert simulator.endpoints[0].ledger.by_path[CHAT] == 1


async def test_all_bodies_together_have_a_limit(world: World) -> None:
    """503 buffers_full above it; a body counts until its answer has begun or its client left."""
    go_on = asyncio.Event()

    async def act(visit: Visit) -> None:
        await go_on.wait()
        await answer_well(visit)

    upstream = await world.upstream(act)
    served = await world.gateway([upstream.url], body=SMALL, balancing={"slots": 8})
    first, second = [await served.begin(sized(1000)) for _ in range(2)]
    await until(lambda: len(upstream.visits) == 2)
    reply = await served.ask("POST", CHAT, sized(501))
    assert (reply.status, reply.error["code"], reply.error["type"]) == (503, "buffers_full", "backend_unavailable")
    assert reply.header("retry-after")
    second.leave()
    await until(lambda: served.in_flight == 1)
    third = await served.begin(sized(1000))
    await until(lambda: len(upstream.visits) == 3)
    go_on.set()
    assert [(await line.reply()).status for line in (first, third)] == [200, 200]
    assert (await served.ask("POST", CHAT, sized(1000))).status == 200


async def test_a_stream_holds_no_body_once_it_has_begun(world: World) -> None:
    """While it runs, others may be read."""
    simulator = await world.simulator(tokens_per_second=50.0)
    served = await world.gateway(
        simulator.urls, body={"max_bytes": 1000, "buffered_bytes": 1000}, balancing={"slots": 3}
    )
    body = json.loads(sized(900))
    line = await served.begin(json.dumps({**body, "stream": True, "max_tokens": 5000}).encode())
    await line.head()
    assert (await served.ask("POST", CHAT, json.dumps({**body, "max_tokens": 1}).encode())).status == 200
    line.leave()


async def test_cors_is_off_by_default(world: World) -> None:
    """No header says anything of origins, and a preflight is a wrong method."""
    served = await world.gateway((await world.simulator()).urls)
    reply = await served.ask("GET", "/v1/models", headers={"origin": APP})
    assert not [name for name, _ in reply.headers if name.startswith("access-control")]
    preflight = {"origin": APP, "access-control-request-method": "POST"}
    assert (await served.ask("OPTIONS", CHAT, headers=preflight)).status == 405


async def test_an_allowed_origin_may_call(world: World) -> None:
    """Preflights are answered here; answers, errors and streams carry the headers a browser wants."""
    served = await world.gateway((await world.simulator()).urls, cors={"origins": [APP], "max_age": "1m"})
    asked = "authorization, content-type, openai-organization, x-stainless-lang, x-stainless-retry-count"
    preflight = {"origin": APP, "access-control-request-method": "POST", "access-control-request-headers": asked}
    reply = await served.ask("OPTIONS", CHAT, headers=preflight)
    assert reply.status == 200
    assert reply.header("access-control-allow-origin") == APP
    assert "POST" in (reply.header("access-control-allow-methods") or "")
    assert reply.header("access-control-max-age") == "60"
    allowed = (reply.header("access-control-allow-headers") or "").lower()
    assert all(name.strip() in allowed for name in asked.split(","))
    assert reply.header("x-request-id")
    for body, status in ((chat(max_tokens=1), 200), (chat(max_tokens=1, stream=True), 200), (b"{", 400)):
        reply = await served.ask("POST", CHAT, body, {"origin": APP})
        assert (reply.status, reply.header("access-control-allow-origin")) == (status, APP)
        exposed = (reply.header("access-control-expose-headers") or "").lower()
        assert {"x-request-id", "retry-after"} <= {name.strip() for name in exposed.split(",")}
        assert "origin" in (reply.header("vary") or "").lower()


async def test_another_origin_is_refused_its_preflight(world: World) -> None:
    """In the error shape; a plain answer carries no permission."""
    served = await world.gateway((await world.simulator()).urls, cors={"origins": [APP]})
    other = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    reply = await served.ask("OPTIONS", CHAT, headers=other)
    assert (reply.status, reply.error["code"]) == (400, "cors_refused")
    assert reply.header("access-control-allow-origin") is None
    reply = await served.ask("GET", "/v1/models", headers={"origin": "https://evil.example"})
    assert (reply.status, reply.header("access-control-allow-origin")) == (200, None)


async def test_cors_changes_live(world: World) -> None:
    """The star allows everyone, without credentials."""
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls)
    content = {"models": {"llama3": {}}, "discovery": {"static": list(simulator.urls)}, "cors": {"origins": ["*"]}}
    await served.reload(content)
    reply = await served.ask("GET", "/v1/models", headers={"origin": APP})
    assert reply.header("access-control-allow-origin") == "*"
    assert reply.header("access-control-allow-credentials") is None


@pytest.mark.parametrize(
    ("trusted", "forwarded", "client"),
    [
        ([], "203.0.113.7", "127.0.0.1"),
        (["10.0.0.0/8"], "203.0.113.7", "127.0.0.1"),
        (["127.0.0.1"], "203.0.113.7", "203.0.113.7"),
        (["127.0.0.0/8", "10.0.0.0/8"], "1.2.3.4, 203.0.113.7, 10.1.1.1", "203.0.113.7"),
        (["127.0.0.1"], "1.2.3.4, nonsense", "127.0.0.1"),
        (["127.0.0.1"], "", "127.0.0.1"),
        (["127.0.0.1"], "2001:db8::1", "2001:db8::1"),
    ],
)
async def test_only_trusted_proxies_are_believed(world: World, trusted: list[str], forwarded: str, client: str) -> None:
    """The record names the peer, or what the nearest trusted proxy says."""
    served = await world.gateway((await world.simulator()).urls, trusted_proxies=trusted)
    await served.ask("GET", "/v1/models", headers={"x-forwarded-for": forwarded})
    await until(lambda: served.exchanges)
    assert served.last.caller.address == client


async def tls_upstream(world: World, authority: trustme.CA) -> Upstream:
    """An endpoint with a certificate of this authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return await world.upstream(answer_well, tls=context)


def written(authority: trustme.CA, path: Path) -> str:
    """The authority's certificate as a file."""
    authority.cert_pem.write_to_path(path)
    return str(path)


async def test_an_endpoint_behind_tls_is_checked_against_its_ca(world: World) -> None:
    """Its own authority is believed for it; another one's makes it down, with the reason."""
    authority, other = trustme.CA(), trustme.CA()
    upstream = await tls_upstream(world, authority)
    right, wrong = (written(a, world.folder / f"{name}.pem") for a, name in ((authority, "right"), (other, "wrong")))
    served = await world.gateway([{"url": upstream.url, "ca_file": right}])
    assert (await served.chat()).status == 200
    assert (await served.chat(stream=True)).events[-1] == "data: [DONE]"
    served = await world.gateway([{"url": upstream.url, "ca_file": wrong}])
    (endpoint,) = (await served.get("/v1/health"))["endpoints"]
    assert endpoint["state"] == "down"
    assert "certificate" in endpoint["complaint"].lower()
    served = await world.gateway([upstream.url])
    assert (await served.get("/v1/health"))["endpoints"][0]["state"] == "down"


async def test_a_ca_file_that_is_none_is_waited_for(world: World) -> None:
    """Nothing is served without it; when it is mended the config is in force. Spoiled later it is trusted on."""
    authority = trustme.CA()
    upstream = await tls_upstream(world, authority)
    path = world.folder / "ca.pem"
    path.write_text("this is no certificate")
    served = await world.gateway([{"url": upstream.url, "ca_file": str(path)}], is_ready=False)
    await until(lambda: any("contains no CA certificate" in str(one) for one in served.gateway.live.reasons))
    assert (await served.chat()).status == 503
    written(authority, path)
    await served.readiness()
    assert (await served.chat()).status == 200
    path.write_text("this is no certificate")
    served.gateway.client.close()  # the next call needs a new connection
    assert (await served.chat()).status == 200


async def test_bytes_that_were_announced_and_never_sent_take_no_room(world: World) -> None:
    """Idle uploads cannot lock others out: the budget counts what is held, not what was promised."""
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls, body={"max_bytes": "1MiB", "buffered_bytes": "1MiB"})
    for _ in range(3):
        line = await served.open()
        length, kind = b"content-length: 1000000", b"content-type: application/json"
        await line.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n" + kind + b"\r\n" + length + b"\r\n\r\n"
        )
    assert (await served.chat()).status == 200
