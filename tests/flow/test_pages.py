"""What a web page, or a name that was pointed at this machine, gets from a gateway on loopback."""

import os

import pytest
from tests.flow.test_access import Ring
from tests.flow.world import CHAT, Served, World, chat, config

EVIL = "https://evil.example"
TEXT = {"content-type": "text/plain"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
NONE = {"content-type": ""}


@pytest.fixture
async def served(world: World) -> Served:
    simulator = await world.simulator()
    return await world.gateway(simulator.urls, cors={"origins": ["https://app.example"]})


async def status(served: Served, headers: dict[str, str], method: str = "POST") -> int:
    """Of a chat call with these headers."""
    return (await served.ask(method, CHAT, chat(max_tokens=1), headers)).status


@pytest.mark.parametrize("origin", [EVIL, "null", "http://localhost:1", "https://app.example.evil.example"])
async def test_a_foreign_page_may_post_nothing(served: Served, origin: str) -> None:
    """Whatever it says the body is: what it does is done even where it cannot read the answer."""
    for kind in ({}, TEXT, FORM, NONE):
        assert await status(served, {"origin": origin, **kind}) == 403
    assert served.last.outcome.error_code == "origin_refused"
    assert (await served.ask("GET", "/v1/models", headers={"origin": origin})).status == 200


async def test_an_allowed_page_and_the_own_host_may_post_json_alone(served: Served) -> None:
    """Other types need no preflight, so that a page could send them without anybody's leave."""
    for origin in ("https://app.example", "http://localhost", "https://localhost"):
        assert await status(served, {"origin": origin}) == 200
        assert [await status(served, {"origin": origin, **kind}) for kind in (TEXT, FORM, NONE)] == [415] * 3


async def test_a_program_may_leave_out_the_type(served: Served) -> None:
    """As Ollama takes it from `curl -d`; what a browser says of a page tells a program from one."""
    for kind in (TEXT, FORM, NONE):
        assert await status(served, kind) == 200
        assert await status(served, {**kind, "sec-fetch-site": "none"}) == 415


async def test_a_coded_body_is_refused(served: Served) -> None:
    reply = await served.ask("POST", CHAT, chat(), {"content-encoding": "gzip"})
    assert reply.status == 415
    assert "Content-Encoding 'gzip'" in reply.error["message"]
    assert await status(served, {"content-encoding": "UTF-8"}) == 200  # meant as a charset, and compresses nothing


async def test_the_message_for_an_opaque_origin_asks_for_no_name(served: Served) -> None:
    reply = await served.ask("POST", CHAT, chat(), {"origin": "null"})
    assert '`cors.origins: ["*"]`' in reply.error["message"]


async def test_the_message_for_a_page_behind_a_rewriting_proxy_says_what_to_do(served: Served) -> None:
    """As nginx does by default."""
    headers = {"origin": "https://chat.example", "host": "127.0.0.1:8080"}
    reply = await served.ask("POST", CHAT, chat(), headers)
    assert reply.status == 403
    assert "under the name '127.0.0.1:8080'" in reply.error["message"]
    assert "keep the Host header" in reply.error["message"]


async def test_a_private_network_is_granted_to_named_origins(world: World) -> None:
    served = await world.gateway((), cors={"origins": ["*", "https://app.example"]})
    preflight = {"access-control-request-method": "POST", "access-control-request-private-network": "true"}
    for origin, granted in ((EVIL, None), ("https://app.example", "true")):
        reply = await served.ask("OPTIONS", CHAT, headers={"origin": origin, **preflight})
        assert reply.status == 200
        assert reply.header("access-control-allow-private-network") == granted


async def test_a_foreign_name_is_refused_on_loopback(served: Served) -> None:
    for host in ("evil.example", "localhost.evil.example:80", "203.0.113.9"):
        assert await status(served, {"host": host}) == 403
    assert served.last.outcome.error_code == "host_refused"
    for host in ("LOCALHOST:1", "a.localhost", "127.0.0.1", "[::1]:80", os.uname().nodename, "app.example"):
        assert await status(served, {"host": host}) == 200
    await served.reload(config((), hosts=["gateway.test"]))
    assert (await served.ask("GET", "/v1/models", headers={"host": "gateway.test"})).status == 200


async def test_with_keys_any_name_will_do(world: World) -> None:
    """A page has no key to show; the admin port asks for none."""
    ring = Ring(world.folder)
    served = await world.gateway((), auth=ring.auth)
    headers = {"host": "evil.example", "authorization": f"Bearer {ring.add('team')}"}
    assert (await served.ask("GET", "/v1/health", headers=headers)).status == 200


@pytest.mark.parametrize("path", ["/health", "/healthz"])
async def test_a_sign_of_life_is_answered_and_not_recorded(world: World, path: str) -> None:
    ring = Ring(world.folder)
    served = await world.gateway((), auth=ring.auth)
    for method in ("GET", "HEAD"):
        assert (await served.ask(method, path)).status == 200
    assert (await served.get(path)) == {"status": "ok"}
    served.gateway.leave()
    reply = await served.ask("GET", path)
    assert (reply.status, reply.json) == (503, {"status": "unavailable"})
    assert served.exchanges == []
