"""Control calls go through httpx over the same connections, with the same failures as httpx's errors."""

import asyncio

import httpx
import pytest
from tests.upstream.scripted import Line, a_client, answer, answers, free_address, serving, until

from ai_gateway.balancing.fleet import Fleet
from ai_gateway.balancing.resident import HeldModel
from ai_gateway.upstream.details import Details, ModelDetails
from ai_gateway.upstream.transport import httpx_client
from ai_gateway.wire.address import Address


async def test_a_control_call_goes_over_the_clients_own_connections() -> None:
    """Again and again over the same one."""
    async with serving(answers(b'{"version":"0.24.0"}')) as server, a_client() as client:
        async with httpx_client(client, server.address) as http:
            for _ in range(3):
                assert (await http.get("/api/version")).json() == {"version": "0.24.0"}
        assert server.connections == 1


async def test_a_control_call_sends_its_body_and_its_own_headers_once() -> None:
    """No second Host or Content-Length beside the client's."""
    async with serving(answers(b"{}")) as server, a_client() as client, httpx_client(client, server.address) as http:
        await http.post("/api/show?x=1", json={"model": "m"}, headers={"x-a": "1"})
        head, _, body = server.seen[0].partition(b"\r\n\r\n")
        assert body == b'{"model":"m"}'
        assert head.startswith(b"POST /api/show?x=1 HTTP/1.1\r\n")
        names = [line.split(b":")[0].lower() for line in head.split(b"\r\n")[1:]]
        assert len(names) == len(set(names))
        assert b"x-a" in names


async def test_a_path_before_the_api_is_kept() -> None:
    """An Ollama behind a proxy has one."""
    async with serving(answers(b"{}")) as server, a_client() as client:
        behind = Address(server.address.host, server.address.port, prefix="/ollama")
        async with httpx_client(client, behind) as http:
            await http.get("/api/tags")
        assert server.paths() == ["/ollama/api/tags"]


async def test_a_redirect_is_not_followed_and_no_cookie_is_kept() -> None:
    """An endpoint cannot send the gateway elsewhere, nor mark it."""

    async def script(line: Line) -> None:
        while await line.request():
            await line.say(answer(b"", b"302 Found", b"location: http://169.254.169.254/\r\nset-cookie: a=b\r\n"))

    async with serving(script) as server, a_client() as client, httpx_client(client, server.address) as http:
        assert (await http.get("/api/version")).status_code == 302
        await http.get("/api/version")
        assert b"cookie" not in server.seen[1].lower()


@pytest.mark.parametrize("place", [b"javascript:1", b"mailto:a", b"http://xn--/", b"http://[::1", b"//" + b"a" * 300])
async def test_an_invalid_location_is_not_a_failure(place: bytes) -> None:
    """httpx would make the request that a redirect asks for, and raise an error that polling does not expect."""

    async def script(line: Line) -> None:
        await line.request()
        await line.say(answer(b"", b"302 Found", b"location: " + place + b"\r\n"))

    async with serving(script) as server, a_client() as client, httpx_client(client, server.address) as http:
        assert (await http.get("/api/version")).status_code == 302


async def test_failures_become_httpx_errors() -> None:
    """Polling catches only httpx.HTTPError."""

    async def cuts(line: Line) -> None:
        await line.request()
        await line.say(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhel")

    async def resets(line: Line) -> None:
        await line.request()
        line.reset()

    async with a_client() as client:
        async with httpx_client(client, await free_address()) as http:
            with pytest.raises(httpx.ConnectError):
                await http.get("/")
        for script in (cuts, resets):
            async with serving(script) as server, httpx_client(client, server.address) as http:
                with pytest.raises(httpx.ReadError):
                    await http.get("/")


async def test_a_stream_can_be_read_as_it_comes() -> None:
    """A pull tells its progress line by line."""
    more = asyncio.Event()

    async def script(line: Line) -> None:
        await line.request()
        await line.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\na\n\r\n")
        await more.wait()
        await line.say(b"2\r\nb\n\r\n0\r\n\r\n")

    async with (
        serving(script) as server,
        a_client() as client,
        httpx_client(client, server.address) as http,
        http.stream("POST", "/api/pull") as pull,
    ):
        lines = pull.aiter_lines()
        assert await anext(lines) == "a"
        more.set()
        assert await anext(lines) == "b"


HELD = HeldModel("tiny:latest", "sha256:1", 1, 0)
SHOWN = b'{"model_info":{"general.architecture":"llama","llama.context_length":512},"capabilities":["completion"]}'


async def test_details_are_requested_once_per_digest(fleet: Fleet) -> None:
    """However many want them at the same time."""
    async with serving(answers(SHOWN)) as server, a_client() as client:
        (endpoint,), _ = fleet.apply([server.address])
        details = ModelDetails(client)
        found = await asyncio.gather(*(details.of(endpoint, HELD) for _ in range(5)))
        assert found == [Details(512, ("completion",))] * 5
        assert await details.of(endpoint, HELD) == found[0]
        assert len(server.seen) == 1


async def test_a_cancelled_caller_does_not_cancel_the_request_of_others(fleet: Fleet) -> None:
    """The answer is shared."""
    let_go = asyncio.Event()

    async def script(line: Line) -> None:
        await line.request()
        await let_go.wait()
        await line.say(answer(SHOWN))

    async with serving(script) as server, a_client() as client:
        (endpoint,), _ = fleet.apply([server.address])
        details = ModelDetails(client)
        first = asyncio.create_task(details.of(endpoint, HELD))
        second = asyncio.create_task(details.of(endpoint, HELD))
        await until(lambda: server.seen)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        let_go.set()
        assert (await second).context_length == 512


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", b"200 OK"), (b"[]", b"200 OK"), (b"\xff", b"200 OK"), (b'{"a":"\xff"}', b"200 OK"), (b"{}", b"404 No")],
)
async def test_an_endpoint_without_an_answer_is_asked_again_later(fleet: Fleet, body: bytes, status: bytes) -> None:
    """A failure is not cached, and no caller gets an error for it."""
    async with serving(answers(body, status)) as server, a_client() as client:
        (endpoint,), _ = fleet.apply([server.address])
        details = ModelDetails(client)
        assert await details.of(endpoint, HELD) == Details()
        assert await details.of(endpoint, HELD) == Details()
        assert len(server.seen) == 2


@pytest.fixture
def fleet() -> Fleet:
    import random

    return Fleet(lambda: 0.0, random.Random(1))
