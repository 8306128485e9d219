"""Heads as real programs write them, byte for byte, and what a proxy or a person may make of them."""

import asyncio

import pytest
from tests.attack.table import Tried
from tests.flow.world import CHAT, Served, World, chat

from ai_gateway.config.units import Seconds

BODY = chat("hello", max_tokens=2)
LENGTH = f"Content-Length: {len(BODY)}\r\n"
HOST = "Host: localhost:8080\r\n"
JSON = "Content-Type: application/json\r\n"
FORM = "Content-Type: application/x-www-form-urlencoded\r\n"

CLIENTS = {
    "curl -d": f"{HOST}User-Agent: curl/8.5.0\r\nAccept: */*\r\n{LENGTH}{FORM}",
    "curl -H Content-Type: (no type)": f"{HOST}User-Agent: curl/8.5.0\r\nAccept: */*\r\n{LENGTH}",
    "curl --http2": f"{HOST}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAA"
    f"\r\n{JSON}{LENGTH}",
    "curl -H 'Expect;'": f"{HOST}Expect:\r\n{JSON}{LENGTH}",
    "wget --post-data": f"{HOST}User-Agent: Wget/1.21\r\nAccept: */*\r\nAccept-Encoding: identity\r\nConnection: "
    f"Keep-Alive\r\n{FORM}{LENGTH}",
    "Go": f"{HOST}User-Agent: Go-http-client/1.1\r\n{LENGTH}{JSON}Accept-Encoding: gzip\r\n",
    "Node fetch with a string": f"host: localhost:8080\r\nconnection: keep-alive\r\ncontent-type: text/plain;charset="
    f"UTF-8\r\naccept: */*\r\naccept-language: *\r\nsec-fetch-mode: cors\r\nuser-agent: node\r\naccept-encoding: br, "
    f"gzip, deflate\r\n{LENGTH.lower()}",
    "OpenAI's Node client": f"{HOST}accept: application/json\r\ncontent-type: application/json\r\nx-stainless-lang: js"
    f"\r\nx-stainless-runtime: node\r\nauthorization: Bearer sk-none\r\n{LENGTH}",
    ".NET HttpClient": f"{HOST}Content-Type: application/json; charset=utf-8\r\n{LENGTH}",
    ".NET with a form's habits": f"{HOST}Content-Type: application/json; charset=utf-8; odata=verbose\r\n{LENGTH}",
    "PowerShell 5": f"User-Agent: Mozilla/5.0 (Windows NT; Windows NT 10.0; en-US) WindowsPowerShell/5.1\r\n{FORM}"
    f"{HOST}{LENGTH}Connection: Keep-Alive\r\n",
    "Java HttpClient": f"Connection: Upgrade, HTTP2-Settings\r\n{LENGTH}{HOST}HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk"
    f"\r\nUpgrade: h2c\r\nUser-Agent: Java-http-client/21\r\n{JSON}",
    "Java HttpURLConnection": f"{JSON}User-Agent: Java/21\r\n{HOST}Accept: */*\r\nConnection: keep-alive\r\n{LENGTH}",
    "Rust reqwest": f"content-type: application/json\r\naccept: */*\r\nhost: localhost:8080\r\n{LENGTH.lower()}",
    "Python requests": f"{HOST}User-Agent: python-requests/2\r\nAccept-Encoding: gzip, deflate\r\nAccept: */*\r\n"
    f"Connection: keep-alive\r\n{LENGTH}{JSON}",
    "PHP file_get_contents": f"{HOST}Connection: close\r\n{LENGTH}{FORM}",
    "a stream's Accept for a whole answer": f"{HOST}Accept: text/event-stream\r\n{JSON}{LENGTH}",
    "TE": f"{HOST}TE: trailers\r\nConnection: keep-alive, TE\r\n{JSON}{LENGTH}",
    "Keep-Alive": f"{HOST}Connection: Keep-Alive\r\nKeep-Alive: 300\r\n{JSON}{LENGTH}",
    "empty values": f"{HOST}Accept:\r\nX-Empty:\r\nCookie:\r\n{JSON}{LENGTH}",
    "a name in Latin-1": f"{HOST}User-Agent: Caf\xe9\r\n{JSON}{LENGTH}",
    "a length with zeros": f"{HOST}{JSON}Content-Length: 000{len(BODY)}\r\n",
    "a semicolon at the end": f"{HOST}Content-Type: application/json; charset=utf-8;\r\n{LENGTH}",
    "a version of the type": f"{HOST}Content-Type: application/json; v=1\r\n{LENGTH}",
    "a quoted charset": f'{HOST}Content-Type: application/json;charset="UTF-8"\r\n{LENGTH}',
    "loud letters": f"HOST: LOCALHOST:8080\r\nCONTENT-TYPE: APPLICATION/JSON\r\n{LENGTH.upper()}",
    "a type of JSON's family": f"{HOST}Content-Type: application/vnd.api+json; ext=x\r\n{LENGTH}",
    "an identity": f"{HOST}Content-Encoding: identity\r\n{JSON}{LENGTH}",
    "a charset for a coding": f"{HOST}Content-Encoding: UTF-8\r\n{JSON}{LENGTH}",
    "blanks behind values": "Host: localhost:8080 \r\nContent-Type: application/json\t \r\n"
    f"Origin: http://localhost:8080 \r\nExpect: 100-continue \r\n{LENGTH}",
    "a host with a dot at its end": f"Host: localhost.:8080\r\n{JSON}{LENGTH}",
}


@pytest.fixture
async def served(world: World) -> Served:
    simulator = await world.simulator()
    return await world.gateway(simulator.urls)


async def status_of(served: Served, data: bytes) -> tuple[int, str]:
    """The status of the answer to these bytes, and its error's code, if any."""
    line = await served.open()
    await line.write(data)
    reply = await line.reply()
    while reply.status == 100:
        reply = await line.reply()
    return reply.status, reply.error["code"] if reply.status >= 400 else ""


@pytest.mark.attack("http", "a call as a real program writes it is served")
@pytest.mark.parametrize("name", CLIENTS)
async def test_a_real_client_is_served(served: Served, name: str) -> None:
    data = f"POST {CHAT} HTTP/1.1\r\n{CLIENTS[name]}\r\n".encode("latin-1") + BODY
    assert await status_of(served, data) == (200, "")


@pytest.mark.attack("http", "request lines of proxies, load testers and old clients")
async def test_a_line_may_have_other_forms(served: Served, tried: Tried) -> None:
    head = HOST + JSON + LENGTH
    lines = {
        f"POST http://localhost:8080{CHAT} HTTP/1.1": 200,
        f"POST http://LOCALHOST:8080{CHAT}?a=b HTTP/1.1": 200,
        f"POST {CHAT}?api-version=2024-10-21 HTTP/1.1": 200,
        f"POST {CHAT} HTTP/1.0": 200,  # ab
        "POST /v1/chat%2Fcompletions HTTP/1.1": 200,
        f"POST http://elsewhere{CHAT} HTTP/1.1": 400,
        f"POST {CHAT}/ HTTP/1.1": 404,
        f"POST /{CHAT} HTTP/1.1": 404,
        f"post {CHAT} HTTP/1.1": 405,
    }
    tried.times = len(lines)
    for line, status in lines.items():
        found = await status_of(served, f"{line}\r\n{head}\r\n".encode() + BODY)
        assert found[0] == status, line


@pytest.mark.attack("http", "a path with a slash too many: a 404 that says so")
async def test_slashes_are_explained(served: Served) -> None:
    reply = await served.ask("GET", "//v1/models")
    assert reply.status == 404
    assert "without doubled slashes" in reply.error["message"]


@pytest.mark.attack("http", "chunks by any spelling of the coding (macOS writes Chunked)")
@pytest.mark.parametrize("coding", ["chunked", "Chunked", "CHUNKED", "cHuNkEd"])
async def test_a_coding_has_no_case(served: Served, coding: str) -> None:
    head = f"POST {CHAT} HTTP/1.1\r\n{HOST}{JSON}Transfer-Encoding: {coding}\r\n\r\n".encode()
    assert await status_of(served, head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)) == (200, "")


TYPES = {
    "application/json; charset=latin1": 415,
    "application/json; charset=utf-16": 415,
    'application/json; charset="iso-8859-1"': 415,
    "application/json; v=1; CHARSET=UTF-7": 415,
    "application/problem+json; charset=utf-8": 200,
    'application/json; note="a;charset=latin1"': 200,
    "application/xml": 415,
    "application/jsonp": 415,
    "multipart/form-data; boundary=x": 415,
    "text/json": 415,
    "text/html": 415,
    "text/plain; charset=utf-16": 415,
    "application/json, text/plain": 415,
    "json": 415,
}


@pytest.mark.attack("http", "types that are JSON in UTF-8, and those that are not")
async def test_only_json_in_utf_8_is_json(served: Served, tried: Tried) -> None:
    tried.times = len(TYPES)
    for kind, status in TYPES.items():
        reply = await served.ask("POST", CHAT, BODY, {"content-type": kind})
        assert reply.status == status, kind


@pytest.mark.attack("http", "a body that says it is coded")
@pytest.mark.parametrize("coding", ["gzip", "GZIP", "deflate", "br", "zstd", "identity, gzip", "aws-chunked", "x"])
async def test_a_coded_body_is_refused_by_its_header(served: Served, coding: str) -> None:
    reply = await served.ask("POST", CHAT, BODY, {"content-encoding": coding})
    assert reply.status == 415
    assert "Content-Encoding" in reply.error["message"]
    doubled = {"content-encoding": f"{coding}\r\ncontent-encoding: identity"}
    assert (await served.ask("POST", CHAT, BODY, doubled)).status == 415


@pytest.mark.attack("http", "h2c offers do not change the connection, and calls behind them are served")
async def test_an_offer_is_ignored_on_a_kept_connection(served: Served) -> None:
    line = await served.open()
    for _ in range(3):
        data = f"POST {CHAT} HTTP/1.1\r\n{CLIENTS['Java HttpClient']}\r\n".encode() + BODY
        await line.write(data)
        reply = await line.reply()
        assert reply.status == 200
        assert reply.header("upgrade") is None


@pytest.mark.attack("http", "idle connections end after `connections.idle`, which changes live")
async def test_idle_connections_have_a_setting(world: World) -> None:
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls)
    assert served.gateway.current.now.config.connections.idle == Seconds(130)
    await served.reload({"models": {"llama3": {}}, "connections": {"idle": "150ms"}})
    assert served.gateway.current.now.config.connections.idle == Seconds(0.15)
    line = await served.open()
    began = asyncio.get_running_loop().time()
    await line.send("GET", "/v1/models")
    await line.reply()
    assert await line.is_closed()
    assert asyncio.get_running_loop().time() - began >= 0.15
    line.leave()
