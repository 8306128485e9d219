"""The HTTP/1.1 client on real sockets: what it sends, what it makes of answers, and when a connection is used again."""

import asyncio
from pathlib import Path

import pytest
from tests.flow.waiting import PATIENCE_SECONDS
from tests.upstream.scripted import Line, a_client, answer, answers, free_address, own_authority, serving, until

from ai_gateway.upstream.client import MAX_IDLE_SECONDS, Client, Request, UpstreamExchange
from ai_gateway.upstream.connection import HIGH_WATER, Connection
from ai_gateway.upstream.failures import BrokenFailure, ConnectFailure, ResetFailure
from ai_gateway.wire.address import Address

GET = Request("GET", "/api/version")
POST = Request("POST", "/v1/chat/completions", (b'{"model":"m"}',), b"x-request-id: 7\r\n")


def ask(client: Client, address: Address, request: Request = GET) -> UpstreamExchange:
    return client.exchange(address, request, 2.0)


async def body_of(client: Client, address: Address, request: Request = GET) -> bytes:
    async with asyncio.timeout(PATIENCE_SECONDS), ask(client, address, request) as exchange:
        return await exchange.read_all(1 << 20)


async def idle_connection(client: Client, address: Address) -> Connection:
    """A connection that carried one exchange and waits for another."""
    connection = await client.connect(address, 2.0)
    connection.send(GET.head(address), ())
    while await connection.head() and await connection.read():
        pass
    client.give(address, connection)
    assert connection.is_open
    return connection


async def ended(connection: Connection) -> None:
    """Returns when the client has noticed that a connection ended."""
    await until(lambda: not connection.is_open)


async def test_a_request_is_written_with_its_own_few_headers() -> None:
    """Nothing of a client's request is in it but what was chosen."""
    async with serving(answers(b"ok")) as server, a_client() as client:
        assert await body_of(client, server.address, POST) == b"ok"
        assert server.seen == [
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: %b\r\ncontent-type: application/json\r\n"
            b"content-length: 13\r\naccept-encoding: identity\r\nuser-agent: ai-gateway-ollama\r\n"
            b"x-request-id: 7\r\n\r\n"
            b'{"model":"m"}' % server.address.authority.encode()
        ]


async def test_a_path_before_the_api_is_kept() -> None:
    """An Ollama behind a proxy has one."""
    async with serving(answers(b"ok")) as server, a_client() as client:
        address = Address(server.address.host, server.address.port, prefix="/ollama")
        await body_of(client, address)
        assert server.paths() == ["/ollama/api/version"]


async def test_a_connection_is_used_again() -> None:
    """And says so, for the decision about a retry."""
    async with serving(answers(b"ok")) as server, a_client() as client:
        for is_second in (False, True):
            async with ask(client, server.address) as exchange:
                await exchange.read_all(10)
                assert exchange.was_reused is is_second
        assert server.connections == 1


async def test_calls_at_the_same_time_have_connections_of_their_own() -> None:
    """The client has no queue."""
    async with serving(answers(b"ok")) as server, a_client() as client:
        async with ask(client, server.address), ask(client, server.address):
            pass
        assert server.connections == 2


async def test_an_answer_that_was_not_read_to_its_end_ends_its_connection() -> None:
    """Ollama stops writing when its client is gone; the rest is nobody else's answer."""
    gone = asyncio.Event()

    async def script(line: Line) -> None:
        await line.request()
        await line.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await line.hung_up()
        gone.set()

    async with serving(script) as server, a_client() as client:
        async with ask(client, server.address) as exchange:
            assert await exchange.read() == b"abc"
        async with asyncio.timeout(PATIENCE_SECONDS):
            await gone.wait()
        async with ask(client, server.address) as exchange:
            assert not exchange.was_reused


async def test_leaving_while_waiting_for_the_head_ends_the_connection() -> None:
    """A client that left has cancelled us: the endpoint's slot is freed at once."""
    gone = asyncio.Event()

    async def script(line: Line) -> None:
        await line.request()
        await line.hung_up()
        gone.set()

    async with serving(script) as server, a_client() as client:
        call = asyncio.create_task(body_of(client, server.address))
        await until(lambda: server.seen)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await until(gone.is_set)


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (answer(b"hello"), b"hello"),
        (answer(b""), b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", b"hello"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nTrailer: x\r\n\r\n", b"hello"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + answer(b"hello"), b"hello"),
        (b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + answer(b"hello"), b"hello"),
    ],
)
async def test_an_answer_is_the_same_in_any_pieces(raw: bytes, body: bytes) -> None:
    """Whole, or byte by byte, with interim answers before it."""

    async def script(line: Line) -> None:
        await line.request()
        await line.say(raw)
        while await line.request():
            await line.say(*[raw[at : at + 1] for at in range(len(raw))])

    async with serving(script) as server, a_client() as client:
        assert await body_of(client, server.address) == body
        assert await body_of(client, server.address) == body
        assert server.connections == 1


async def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    """RFC 9112 6.3."""

    async def script(line: Line) -> None:
        await line.request()
        await line.say(b"HTTP/1.1 200 OK\r\n\r\nhel", b"lo")

    async with serving(script) as server, a_client() as client:
        assert await body_of(client, server.address) == b"hello"


async def test_headers_are_read_in_any_case() -> None:
    """The first value of a name; none is empty."""

    async def script(line: Line) -> None:
        await line.request()
        await line.say(answer(b"", b"503 Busy", b"Content-Type: text/Plain\r\nX-A: 1\r\nx-a: 2\r\n"))

    async with serving(script) as server, a_client() as client, ask(client, server.address) as exchange:
        head = exchange.head
        assert (head.status, head.get(b"content-type"), head.get(b"x-a"), head.get(b"x-b")) == (
            503,
            b"text/Plain",
            b"1",
            b"",
        )


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nxyz\r\n",
    ],
)
async def test_a_body_that_is_cut_is_never_taken_for_a_whole_one(raw: bytes) -> None:
    """What came is relayed, and then the fault."""

    async def script(line: Line) -> None:
        await line.request()
        await line.say(raw)

    async with serving(script) as server, a_client() as client:
        with pytest.raises(BrokenFailure):
            await body_of(client, server.address)


@pytest.mark.parametrize("cuts_hard", [False, True])
@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\ncontent-le", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_a_connection_that_ends_before_the_head_is_a_reset(said: bytes, cuts_hard: bool) -> None:
    """Nothing was answered: the call may be sent again."""

    async def script(line: Line) -> None:
        await line.request()
        await line.say(said)
        if cuts_hard:
            line.reset()

    async with serving(script) as server, a_client() as client:
        with pytest.raises(ResetFailure):
            await body_of(client, server.address)


@pytest.mark.parametrize(
    "raw",
    [
        b"garbage\r\n\r\n",
        b"\x00" * 100,
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 300 + b"\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n\x81\x00",
    ],
)
async def test_an_answer_that_is_not_http_is_a_failure(raw: bytes) -> None:
    """A port that another service took over."""
    surprises: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: surprises.append(context))

    async def script(line: Line) -> None:
        await line.request()
        await line.say(raw)
        await line.hung_up()

    async with serving(script) as server, a_client() as client:
        with pytest.raises(ResetFailure):
            await body_of(client, server.address)
    assert surprises == []


async def test_a_second_answer_is_not_mixed_with_the_first() -> None:
    """An endpoint that says more than it was asked loses its connection, and nobody gets the surplus."""

    async def script(line: Line) -> None:
        await line.request()
        await line.say(answer(b"first") + answer(b"SECOND", b"500 No"))
        await line.hung_up()

    async with serving(script) as server, a_client() as client:
        async with asyncio.timeout(PATIENCE_SECONDS), ask(client, server.address) as exchange:
            assert exchange.head.status == 200
            assert await exchange.read_all(100) == b"first"
        async with ask(client, server.address) as exchange:
            assert not exchange.was_reused


async def test_a_connection_with_unsolicited_data_is_not_used() -> None:
    """What it said would be the answer to the next request."""
    is_idle = asyncio.Event()

    async def script(line: Line) -> None:
        await line.request()
        await line.say(answer(b"one"))
        if server.connections == 1:
            await is_idle.wait()
            await line.say(answer(b"EVIL"))
        await line.hung_up()

    async with serving(script) as server, a_client() as client:
        connection = await idle_connection(client, server.address)
        is_idle.set()
        await ended(connection)
        assert await body_of(client, server.address) == b"one"
        assert server.connections == 2


async def test_a_connection_that_was_closed_meanwhile_is_not_used() -> None:
    """A restarted Ollama gets a new one without a failed call."""

    is_idle = asyncio.Event()

    async def script(line: Line) -> None:
        await line.request()
        await line.say(answer(b"ok"))
        await is_idle.wait()

    async with serving(script) as server, a_client() as client:
        connection = await idle_connection(client, server.address)
        is_idle.set()
        await ended(connection)
        async with ask(client, server.address) as exchange:
            assert not exchange.was_reused


async def test_an_answer_that_says_close_is_the_last_on_its_connection() -> None:
    """And HTTP/1.0's is too."""
    for raw in (answer(b"ok", extra=b"connection: close\r\n"), b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok"):

        async def script(line: Line, raw: bytes = raw) -> None:
            await line.request()
            await line.say(raw)
            await line.hung_up()

        async with serving(script) as server, a_client() as client:
            assert await body_of(client, server.address) == b"ok"
            assert client.take_idle(server.address) is None


async def test_a_connection_that_was_idle_too_long_is_closed() -> None:
    """Something between may have forgotten it."""
    async with serving(answers(b"ok")) as server, a_client() as client:
        connection = await idle_connection(client, server.address)
        connection.idle_since -= MAX_IDLE_SECONDS + 1
        assert client.take_idle(server.address) is None
        assert not connection.is_open


async def test_connections_to_an_endpoint_that_is_gone_are_closed() -> None:
    """Others stay."""
    async with serving(answers(b"a")) as one, serving(answers(b"b")) as other, a_client() as client:
        await body_of(client, one.address)
        await body_of(client, other.address)
        client.forget(one.address)
        assert client.take_idle(one.address) is None
        assert client.take_idle(other.address) is not None


async def test_a_connection_in_use_while_its_endpoint_goes_is_closed_when_it_is_given_back() -> None:
    """A poll or a call that was on its way leaves nothing open; nor does a request to what is no endpoint."""
    async with serving(answers(b"a")) as server, a_client(Client) as client:
        client.keep(server.address)
        client.keep(server.address)  # two endpoints behind one origin
        async with client.exchange(server.address, Request("GET", "/"), 1) as answer:
            await answer.read_all(9)
            client.forget(server.address)
        kept = client.take_idle(server.address)
        assert kept is not None
        kept.close()
        async with client.exchange(server.address, Request("GET", "/"), 1) as answer:
            await answer.read_all(9)
            client.forget(server.address)
        assert client.take_idle(server.address) is None
        await body_of(client, server.address)
        assert client.take_idle(server.address) is None
        client.keep(server.address)
        async with client.exchange(server.address, Request("GET", "/"), 1) as answer:
            await answer.read_all(9)
            client.close()
        assert client.take_idle(server.address) is None


async def test_a_refused_connection_is_a_connect_failure() -> None:
    """Nothing was sent: another endpoint can have the call."""
    address = await free_address()
    async with a_client() as client:
        with pytest.raises(ConnectFailure, match=f"cannot connect to {address.authority}"):
            await body_of(client, address)
        assert not await client.accepts(address, 1)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 300, "a..b", "\udcff"])
async def test_an_unknown_host_name_is_a_connect_failure(host: str) -> None:
    """However odd it is."""
    async with a_client() as client:
        with pytest.raises(ConnectFailure):
            await body_of(client, Address(host, 1))


async def test_a_connection_has_its_own_short_deadline() -> None:
    """A server that takes the connection and never answers the TLS greeting."""

    async def script(line: Line) -> None:
        await line.hung_up()

    async with serving(script) as server, a_client() as client:
        address = Address(server.address.host, server.address.port, "https")
        with pytest.raises(ConnectFailure, match=r"within 0.05 s"):
            async with client.exchange(address, GET, 0.05):
                pass


async def test_accepts_is_true_if_the_endpoint_takes_a_connection() -> None:
    """Without a request."""
    async with serving(answers(b"ok")) as server, a_client() as client:
        assert await client.accepts(server.address, 1)
        assert server.seen == []


async def test_a_body_larger_than_its_limit_is_a_failure() -> None:
    """Memory is bounded for anything that an endpoint sends."""
    async with serving(answers(b"x" * 1001)) as server, a_client() as client, ask(client, server.address) as exchange:
        with pytest.raises(BrokenFailure, match="more than 1000 bytes"):
            await exchange.read_all(1000)


async def test_a_slow_reader_stops_the_reading() -> None:
    """An endless answer that nobody takes stays in the endpoint, and all of it comes when it is wanted."""
    total, written = 64 << 20, 0
    piece = b"x" * (1 << 20)

    async def script(line: Line) -> None:
        nonlocal written
        await line.request()
        await line.say(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total)
        while written < total:
            await line.say(piece)
            written += len(piece)

    async with serving(script) as server, a_client() as client, ask(client, server.address) as exchange:
        before = -1
        while before != written:  # until nothing moves any more
            before = written
            await asyncio.sleep(0.05)
        assert written < total / 2
        first = await exchange.read()
        assert len(first) <= HIGH_WATER + (1 << 20)
        assert len(first) + len(await exchange.read_all(total)) == total


async def test_a_large_request_is_sent_whole() -> None:
    """Head and body are not joined into one more copy."""
    async with serving(answers(b"ok")) as server, a_client() as client:
        large = Request("POST", "/v1/embeddings", (b"y" * (3 << 20),))
        assert await body_of(client, server.address, large) == b"ok"
        assert server.seen[0].endswith(b"\r\n\r\n" + b"".join(large.body))


async def test_an_endpoint_with_its_own_certificate_authority_is_believed_by_that_alone(tmp_path: Path) -> None:
    """Per upstream; without it the certificate is refused."""
    context, ca_file = own_authority(tmp_path)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(b"ok"))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as listening, a_client() as client:
        port = listening.sockets[0].getsockname()[1]
        assert await body_of(client, Address("127.0.0.1", port, "https", "", ca_file)) == b"ok"
        with pytest.raises(ConnectFailure, match=r"(?i)certificate"):
            await body_of(client, Address("127.0.0.1", port, "https"))
