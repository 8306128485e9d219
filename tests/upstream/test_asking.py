"""One gateway asks another for its report: a whole answer in time, or a reason."""

import pytest
from tests.balancing.reports import some_report
from tests.upstream.scripted import Line, a_client, answer, free_address, serving

from ai_gateway.balancing.report import MOST_BYTES, encode
from ai_gateway.upstream.asking import Asking, Unheard, Why


async def report_of(said: bytes) -> bytes:
    """What is heard of a server that answers so."""

    async def script(line: Line) -> None:
        while await line.request():
            await line.say(said)

    async with serving(script) as server, a_client() as client:
        return await Asking(client).ask(server.address)


async def test_a_report_is_asked_for_over_one_kept_connection() -> None:
    body = encode(some_report("a"))

    async def script(line: Line) -> None:
        while await line.request():
            await line.say(answer(body))

    async with serving(script) as server, a_client() as client:
        asking = Asking(client)
        assert [await asking.ask(server.address) for _ in range(3)] == [body] * 3
        assert (server.paths(), server.connections) == (["/report"] * 3, 1)


@pytest.mark.parametrize(
    ("said", "why", "told"),
    [
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "refused", "answers 404 (is it of an older release?)"),
        (b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n", "refused", "answers 403"),
        (b"HTTP/1.1 302 Found\r\nlocation: http://a/\r\ncontent-length: 0\r\n\r\n", "refused", "answers 302"),
        (answer(b" " * (MOST_BYTES + 1)), "unreachable", "an answer of more than 65536 bytes"),
        (b"nonsense\r\n\r\n", "unreachable", "does not answer: "),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\ncontent-encoding: gzip\r\n\r\n", "unreachable", "is compressed"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_any_other_answer_is_none(said: bytes, why: Why, told: str) -> None:
    with pytest.raises(Unheard) as unheard:
        await report_of(said)
    assert unheard.value.why == why
    assert told in str(unheard.value)


async def test_nobody_there_is_told_so() -> None:
    async with a_client() as client:
        with pytest.raises(Unheard, match="cannot connect"):
            await Asking(client).ask(await free_address())


@pytest.mark.parametrize("pieces", [(), (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", b"{")], ids=["all", "half"])
async def test_silence_ends_after_a_while(pieces: tuple[bytes, ...]) -> None:
    """Also where a part of the answer has come."""

    async def script(line: Line) -> None:
        await line.request()
        await line.say(*pieces)
        await line.hung_up()

    async with serving(script) as server, a_client() as client:
        with pytest.raises(Unheard, match=r"within 0.05 s"):
            await Asking(client, 0.05).ask(server.address)
