"""What a web page can make a browser send to a gateway on its own machine, or on a network that it can reach."""

import pytest
from tests.attack.table import Tried
from tests.flow.line import Line, Reply
from tests.flow.world import CHAT, Served, World, chat

from ai_gateway.simulator import Simulator

EVIL = "https://evil.example"
SIMPLE = (
    "text/plain",
    "text/plain;charset=UTF-8",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
)
FOREIGN = (
    EVIL,
    "null",
    "http://localhost",  # another port of this machine is another origin
    "http://localhost.evil.example",
    "https://localhost",
    "moz-extension://17c5a2a0-0000-4000-8000-000000000000",
    "file://",
    "",
    "http://127.0.0.1:1@evil.example",
    "x" * 5000,
)


async def posted(served: Served, origin: str | None, kind: str = "application/json", **more: str) -> Reply:
    """The answer to a chat call as a page of this origin sends it."""
    headers = {"host": f"localhost:{served.port}", "content-type": kind, **more}
    line = await served.open()
    body = chat(max_tokens=1)
    told = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value)
    told += "" if origin is None else f"origin: {origin}\r\n"
    await line.write(f"POST {CHAT} HTTP/1.1\r\n{told}content-length: {len(body)}\r\n\r\n".encode() + body)
    return await line.reply()


def sent(simulator: Simulator) -> int:
    """How many calls reached Ollama."""
    asked = (request for endpoint in simulator.endpoints for request in endpoint.ledger.last)
    return sum(request.method == "POST" and request.path.startswith("/v1/") for request in asked)


@pytest.mark.attack("http", "a foreign page posts JSON (it was served before)")
@pytest.mark.parametrize("allowed", [(), ("https://app.example",)], ids=["cors off", "cors for another"])
async def test_a_foreign_page_is_refused_and_costs_nothing(
    world: World, tried: Tried, allowed: tuple[str, ...]
) -> None:
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls, cors={"origins": list(allowed)})
    tried.times = len(FOREIGN)
    for origin in FOREIGN:
        reply = await posted(served, origin)
        assert (reply.status, reply.error["code"]) == (403, "origin_refused"), origin
        assert "cors.origins" in reply.error["message"]
        assert reply.header("access-control-allow-origin") is None
    assert not sent(simulator)
    assert {exchange.outcome.kind for exchange in served.exchanges} == {"refused"}


@pytest.mark.attack("http", "simple cross-site POSTs, which need no preflight, to the API and the admin port")
async def test_simple_posts_do_nothing(world: World, tried: Tried) -> None:
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls)
    for kind in ("", *SIMPLE):
        for origin in (EVIL, "null"):
            assert (await posted(served, origin, kind, **{"sec-fetch-site": "cross-site"})).status == 403
        for path in ("/drain", "/", "/metrics"):
            line = await Line.open(served.admin_port)
            host = f"localhost:{served.admin_port}"
            await line.send("POST", path, b"x", {"host": host, "origin": EVIL, "content-type": kind})
            assert (await line.reply()).status in (403, 404, 405)
            line.leave()
        tried.times += 5
    assert not sent(simulator)
    assert not served.shutdown.requested.is_set()


@pytest.mark.attack("http", "simple types from pages that may call: JSON alone, for which a browser asks first")
async def test_pages_must_say_json(world: World, tried: Tried) -> None:
    served = await world.gateway((await world.simulator()).urls, cors={"origins": ["https://app.example"]})
    own = f"http://localhost:{served.port}"
    for origin in (own, "https://app.example"):
        for kind in ("", *SIMPLE):
            assert (await posted(served, origin, kind)).status == 415
            tried.times += 1
        assert (await posted(served, origin)).status == 200
    for kind in ("", *SIMPLE[:3]):
        assert (await posted(served, None, kind, **{"sec-fetch-site": "same-origin"})).status == 415
        assert (await posted(served, None, kind)).status == 200


@pytest.mark.attack("http", "the gateway's own page, also behind a proxy that ends TLS")
async def test_the_own_host_may_post(world: World) -> None:
    served = await world.gateway((await world.simulator()).urls, hosts=["chat.example"])
    cases = {
        ("http://chat.example", "chat.example"): 200,
        ("https://chat.example", "chat.example"): 200,  # a proxy in front ends TLS
        ("https://chat.example:8443", "chat.example:8443"): 200,
        ("https://chat.example", "chat.example:443"): 200,
        ("http://chat.example", "chat.example:8080"): 403,
        ("https://chat.example:8443", "chat.example"): 403,
        ("https://chat.example.evil.example", "chat.example"): 403,
        ("app://chat.example", "chat.example"): 403,
    }
    for (origin, host), status in cases.items():
        assert (await posted(served, origin, host=host)).status == status, (origin, host)


PATTERNS = {
    "http://localhost:*": (
        ["http://localhost", "http://localhost:3000", "http://localhost:65535"],
        ["https://localhost:3000", "http://localhost.evil.example:3000", "http://a.localhost:1", "http://localhost:x"],
    ),
    "https://*.example.com": (
        ["https://a.example.com", "https://a.b.example.com"],
        ["https://example.com", "https://evilexample.com", "https://a.example.com:8443", "http://a.example.com"],
    ),
    "https://*.example.com:*": (["https://a.example.com:8443", "https://a.example.com"], ["https://example.com:1"]),
    "moz-extension://*": (["moz-extension://17c5a2a0-0000-4000-8000-000000000000"], ["chrome-extension://abc", "null"]),
    "chrome-extension://*": (["chrome-extension://abcdefghijklmnopabcdefghijklmnop"], ["https://abc"]),
    "HTTPS://App.Example:443": (["https://app.example"], ["https://app.example:444", "http://app.example"]),
    "http://app.example:80": (["http://app.example"], ["http://app.example:443"]),
    "app://obsidian.md": (["app://obsidian.md"], ["app://obsidian"]),
    "http://[::1]:3000": (["http://[::1]:3000"], ["http://[::2]:3000"]),
}


@pytest.mark.attack("http", "`cors.origins` by patterns, ports, case: exactly what is meant matches")
@pytest.mark.parametrize("pattern", PATTERNS)
async def test_a_pattern_matches_what_is_meant(world: World, tried: Tried, pattern: str) -> None:
    served = await world.gateway((await world.simulator()).urls, cors={"origins": [pattern]})
    good, bad = PATTERNS[pattern]
    tried.times = len(good) + len(bad)
    for origin in good:
        preflight = {"origin": origin, "access-control-request-method": "POST"}
        reply = await served.ask(
            "OPTIONS", CHAT, headers={**preflight, "access-control-request-private-network": "true"}
        )
        assert (reply.status, reply.header("access-control-allow-origin")) == (200, origin)
        assert reply.header("access-control-allow-private-network") == "true"
        assert (await posted(served, origin)).status == 200
    for origin in bad:
        preflight = {"origin": origin, "access-control-request-method": "POST"}
        assert (await served.ask("OPTIONS", CHAT, headers=preflight)).status == 400, origin
        assert (await posted(served, origin)).status == 403, origin


@pytest.mark.attack("http", "a private network is granted to origins that were named, never by a bare star")
async def test_a_star_opens_no_private_network(world: World) -> None:
    served = await world.gateway((await world.simulator()).urls, cors={"origins": ["*", "https://app.example"]})
    for network in ("private-network", "local-network"):
        for origin, granted in ((EVIL, None), ("null", None), ("https://app.example", "true")):
            asked = {"origin": origin, "access-control-request-method": "POST"}
            asked[f"access-control-request-{network}"] = "true"
            reply = await served.ask("OPTIONS", CHAT, headers=asked)
            assert (reply.status, reply.header("access-control-allow-origin")) == (200, "*")
            assert reply.header(f"access-control-allow-{network}") == granted
    reply = await served.ask(
        "OPTIONS", CHAT, headers={"origin": "https://app.example", "access-control-request-method": "POST"}
    )
    assert reply.header("access-control-allow-private-network") is None, "it was not asked for"
