"""What an endpoint sends in place of an answer: clients get an error that says so, and never nonsense with `[DONE]`."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.attack.odd_endpoint import MEBI, OK, attacked, floods, gzip_answer, says, squeezed_blanks
from tests.attack.table import Tried
from tests.flow.line import error_in
from tests.flow.upstream import DONE, END, SSE_HEAD, Upstream, Visit, answer, answer_well, event, framed, whole
from tests.flow.waiting import until
from tests.flow.world import CHAT, Served, World, chat

from ai_gateway.wire.answer import Shape
from ai_gateway.wire.stream import EventStream

FIRST, SECOND, LAST = event("one"), event("two"), event("", "stop")


def swapped(old: bytes, new: bytes) -> bytes:
    """The second event with something odd in it."""
    assert SECOND.count(old) == 1
    return SECOND.replace(old, new)


NONSENSE: dict[str, bytes] = {
    "invalid UTF-8": swapped(b'"two"', b'"\xff\xfe"'),
    "half a character": swapped(b'"two"', b'"\xf0\x9f\x98"'),
    "NUL": swapped(b'"two"', b'"\x00"'),
    "an escape sequence": swapped(b'"two"', b'"\x1b[2J"'),
    "half a surrogate pair": swapped(b'"two"', b'"\\ud83d"'),
    "a brace missing": swapped(b'"two"}', b'"two"'),
    "text behind the object": swapped(b"}]}\n\n", b"}]}}\n\n"),
    "NaN": swapped(b'"two"', b"NaN"),
    "deep nesting": swapped(b'"two"', b"[" * 200_000),
    "an error in a known event": swapped(b"}]}\n\n", b'}],"error":{"message":"boom"}}\n\n'),
    "an error between two lists of choices": swapped(b"}]}\n\n", b'}],"error":"boom","choices":[]}\n\n'),
    "an error of Ollama's own": b'data: {"error":{"message":"out of memory","type":"api_error"}}\n\n',
    "an error line without its field": b'{"error":"out of memory"}\n\n',
    "a page of HTML": b"<html><body>502 Bad Gateway</body></html>\n\n",
    "a list": b"data: [1]\n\n",
    "a misspelt field": SECOND.replace(b"data:", b"date:"),
    "[DONE] before its time": DONE,
    "[DONE] with more": b"data: [DONE]{}\n\n",
    "an event of five MiB": swapped(b'"two"', b'"' + b"x" * (5 * MEBI) + b'"'),
    "chunks that are none": b"",
}


async def broken_stream(world: World, served: Served, text: str = "hello") -> tuple[list[str], dict[str, Any]]:
    """What a client got before the error, and the error."""
    reply = await served.chat(text, stream=True)
    assert reply.status == 200
    *before, last = reply.events
    return before, error_in(last.removeprefix("data: "))


def streams(*pieces: bytes) -> Callable[[Visit], Awaitable[None]]:
    """A stream of these pieces, each a chunk of its own; whole answers come well."""

    async def act(visit: Visit) -> None:
        if not visit.fields.get("stream"):
            await answer_well(visit)
            return
        await visit.say(SSE_HEAD, *(framed(piece) if piece else b"xyz\r\n" for piece in pieces), END)

    return act


@pytest.mark.attack("endpoints", "nonsense in the middle of a stream that goes on as if nothing were, up to its [DONE]")
@pytest.mark.parametrize("what", NONSENSE)
async def test_nonsense_in_a_stream_ends_it_with_an_error(world: World, what: str) -> None:
    upstream = await world.upstream(streams(FIRST, FIRST, NONSENSE[what], SECOND, LAST, DONE))
    served = await world.gateway([upstream.url])
    before, error = await broken_stream(world, served)
    assert (error["type"], error["code"]) == ("backend_unavailable", "upstream_disconnected")
    assert not any("[DONE]" in block for block in before)
    assert all(json.loads(block.removeprefix("data: "))["choices"][0]["delta"]["content"] == "one" for block in before)
    record = await served.recorded()
    assert (record.outcome.kind, record.outcome.status, record.outcome.error_code) == (
        "upstream_broke",
        502,
        "upstream_disconnected",
    )
    assert record.attempts[-1].failure
    is_ollamas_word = ("error" in what and "field" not in what) or what == "[DONE] before its time"
    assert served.endpoint(upstream.address).total_failures == (0 if is_ollamas_word else 1)


@pytest.mark.attack("endpoints", "the same nonsense cut at every byte, and in one piece with all else")
@pytest.mark.parametrize("what", ["invalid UTF-8", "NUL", "a brace missing", "an error in a known event"])
async def test_nonsense_is_seen_wherever_it_is_cut(world: World, tried: Tried, what: str) -> None:
    data = b"".join([FIRST, FIRST, NONSENSE[what], SECOND, LAST, DONE])
    bytewise = [data[at : at + 1] for at in range(len(data))]
    for pieces in (bytewise, [data]):
        served = await world.gateway([(await world.upstream(streams(*pieces))).url])
        before, error = await broken_stream(world, served)
        assert (len(before), error["code"]) == (2, "upstream_disconnected")
    tried.times = 2


SAME: dict[str, Callable[[bytes], bytes]] = {
    "CRLF": lambda data: data.replace(b"\n", b"\r\n"),
    "CR": lambda data: data.replace(b"\n", b"\r"),
    "a byte order mark": lambda data: b"\xef\xbb\xbf" + data,
    "comments": lambda data: data.replace(b"\n\n", b"\n\n: ping\n\n"),
    "no space": lambda data: data.replace(b"data: ", b"data:"),
    "data in several lines": lambda data: data.replace(b',"choices"', b'\ndata: ,"choices"'),
    "fields of the standard": lambda data: data.replace(b"data: ", b"event: message\nid: 7\nretry: 10\ndata: "),
    "empty data": lambda data: data.replace(b"\n\n", b"\n\ndata:\n\n"),
    "lines without end": lambda data: data.replace(b"\n\n", b"\n\n\n\n\n\n"),
    "more behind the end": lambda data: data + b"data: \xff\n\n<html>\n\n" + SECOND,
}


@pytest.mark.attack("endpoints", "streams that only look odd: every way in which the standard lets events be written")
@pytest.mark.parametrize("what", SAME)
async def test_an_odd_stream_that_is_sound_passes(world: World, what: str) -> None:
    data = SAME[what](event("\u2028 ä 😀") + event("b") + LAST + DONE)
    pieces = [data[at : at + 7] for at in range(0, len(data), 7)]
    served = await world.gateway([(await world.upstream(streams(*pieces))).url])
    reply = await served.chat(stream=True)
    *events, done = reply.events
    assert done == "data: [DONE]"
    texts = [json.loads(block.removeprefix("data: "))["choices"][0]["delta"]["content"] for block in events]
    assert texts == ["\u2028 ä 😀", "b", ""]
    assert (await served.recorded()).outcome.kind == "ok"


@pytest.mark.attack("endpoints", "an endpoint that answers calls with nonsense again and again")
async def test_an_endpoint_that_talks_nonsense_gets_no_more_calls(world: World, tried: Tried) -> None:
    """Others are preferred from its first failure on; where there are none it is called, since it may be well again."""
    bad = await world.upstream(streams(FIRST, NONSENSE["invalid UTF-8"], LAST, DONE))
    good = await world.upstream(answer_well)
    served = await world.gateway([bad.url, good.url], polling={"interval": "60s"})
    codes = [(await served.chat(stream=True)).events[-1] == "data: [DONE]" for _ in range(40)]
    assert codes.count(False) == len(bad.visits) <= 5
    assert all(codes[-20:])
    tried.times = 40


@pytest.mark.attack("endpoints", "a stream that is alive by comments, or by a byte now and then, and brings no event")
@pytest.mark.parametrize("drop", [b": ping\n\n", b"x", b"\n\n"])
async def test_signs_of_life_are_no_events(world: World, drop: bytes) -> None:
    async def act(visit: Visit) -> None:
        await visit.say(SSE_HEAD, framed(FIRST), framed(b"data: "))
        while not visit.writer.is_closing():
            await visit.say(framed(drop))
            await asyncio.sleep(0.01)

    timeouts = {"idle": "300ms", "first_byte": "10s"}
    served = await world.gateway([(await world.upstream(act)).url], timeouts=timeouts)
    _, error = await broken_stream(world, served)
    assert error["code"] in ("idle_timeout", "upstream_disconnected")
    assert (await served.recorded()).outcome.kind in ("timeout", "upstream_broke")


@pytest.mark.attack("endpoints", "events without end, of one kind or another")
@pytest.mark.parametrize("what", ["one event", "comments", "blank lines", "chunks of two bytes", "gzip"])
async def test_a_stream_without_end_takes_no_memory(tmp_path: Path, tried: Tried, what: str) -> None:
    said = {
        "one event": floods(SSE_HEAD + framed(FIRST), framed(b"x" * MEBI), 500),
        "comments": floods(SSE_HEAD + framed(FIRST), framed(b": x\n\n" * 200_000), 50),
        "blank lines": floods(SSE_HEAD + framed(FIRST), framed(b"\n" * MEBI), 50),
        "chunks of two bytes": floods(SSE_HEAD + framed(FIRST), framed(b"xy") * 100_000, 200),
        "gzip": says(gzip_answer(squeezed_blanks(600)).replace(b"application/json", b"text/event-stream", 1)),
    }[what]
    async with attacked(tmp_path, {}, said, queue={"max_waiting": 9}) as (command, odd):
        for _ in range(4):
            reply = await command.chat(stream=True)
            assert reply.status in (200, 502, 503)
            assert b"[DONE]" not in reply.body
            assert b'"error"' in reply.body
        assert command.peak_bytes < 110 * MEBI
        tried.times = len(odd.visits)
        tried.figure(f"{command.peak_bytes // MEBI} MiB at most, {command.loop_cpu_seconds:.1f} s of CPU in all")
        assert command.loop_cpu_seconds < 10


BODIES: dict[str, bytes] = {
    "HTML": whole(b"<html>ok</html>", headers=["content-type: text/html"]),
    "invalid UTF-8": whole(answer("ODD").replace(b"ODD", b"\xff")),
    "invalid UTF-8 where nobody reads": whole(answer(x="ODD").replace(b"ODD", b"\xff")),
    "NUL": whole(answer(x="ODD").replace(b"ODD", b"\x00")),
    "text behind the object": whole(answer() + b"}"),
    "two answers": whole(answer() + answer()),
    "a list": whole(b"[" + answer() + b"]"),
    "nothing": whole(b""),
    "blanks": whole(b" " * 100_000),
    "no finish_reason": whole(answer(choices=[{"message": {"content": "x"}}])),
    "an error with 200": whole(b'{"error":"boom"}'),
    "choices again": whole(answer()[:-1] + b',"choices":[]}'),
    "cut": whole(answer())[:-9],
    "no body": OK + b"content-length: 400\r\n\r\n",
    "both lengths": OK + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n" + framed(answer()) + END,
    "two lengths": OK + b"content-length: 5\r\ncontent-length: 9\r\n\r\n" + answer(),
    "a chunk that is longer than it says": OK + b"transfer-encoding: chunked\r\n\r\n5\r\n" + answer() + END,
    "gzip": gzip_answer(squeezed_blanks(1)),
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "304": b"HTTP/1.1 304 Not Modified\r\n\r\n",
    "a redirect": whole(b"", "307 Go", ["location: http://169.254.169.254/"]),
    "101": b"HTTP/1.1 101 Go\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\ncontent-length: 0\r\n\r\n",
    "HTTP/0.9": answer(),
    "TLS": b"\x15\x03\x01\x00\x02\x02\x0a",
}


@pytest.mark.attack("endpoints", "whole answers that are none")
@pytest.mark.parametrize("what", BODIES)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_what_is_no_answer_is_an_error_for_the_caller(world: World, what: str, stream: bool) -> None:
    async def act(visit: Visit) -> None:
        await visit.say(BODIES[what])
        visit.hang_up()

    served = await world.gateway([(await world.upstream(act)).url])
    reply = await served.chat(stream=stream)
    assert reply.status == 502
    assert reply.error["type"] == "backend_unavailable"
    assert (await served.recorded()).outcome.kind == "upstream_broke"


@pytest.mark.attack("endpoints", "a stream that goes on without end behind its [DONE]")
async def test_behind_the_last_event_little_is_read(world: World, tried: Tried) -> None:
    said: list[int] = []

    async def act(visit: Visit) -> None:
        await visit.say(SSE_HEAD, framed(FIRST), framed(LAST), framed(DONE))
        said.append(0)
        with suppress(ConnectionError):
            while said[-1] < 1000 and not visit.writer.is_closing():
                await visit.say(framed(b": " + b"x" * 100_000))
                said[-1] += 1

    served = await world.gateway([(await world.upstream(act)).url])
    for _ in range(3):
        reply = await served.chat(stream=True)
        assert reply.events[-1] == "data: [DONE]"
    await until(lambda: served.is_idle)
    tried.times = len(said)
    tried.figure(f"{max(said) * 100} KB at most, most of it in the sockets")
    assert max(said) < 200


@pytest.mark.attack("endpoints", "more behind an answer than its length says")
async def test_of_an_answer_with_more_behind_it_only_the_answer_counts(world: World, tried: Tried) -> None:
    async def act(visit: Visit) -> None:
        await visit.say(whole(answer("good")) + b"EVIL" * 1000)

    upstream: Upstream = await world.upstream(act)
    served = await world.gateway([upstream.url])
    for _ in range(10):
        reply = await served.chat()
        assert (reply.status, b"EVIL" in reply.body) == (200, False)
    tried.times = 10
    await until(lambda: served.is_idle)


@pytest.mark.attack("endpoints", "the head of a caller's trace from the future, 30 KB and bytes above 0x7f")
async def test_an_endpoint_gets_of_a_trace_what_is_known(world: World) -> None:
    upstream = await world.upstream(answer_well)
    served = await world.gateway([upstream.url])
    known = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    for more in ("", "-" + "x" * 20_000, "-\xe9\xff"):
        line = await served.open()
        body = chat()
        head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntraceparent: cc-{known}"
        fields = f"tracestate: a=\xe9\r\nbaggage: k=\xe9\r\ncontent-length: {len(body)}\r\n\r\n"
        await line.write(f"{head}{more}\r\n{fields}".encode("latin-1") + body)
        assert (await line.reply()).status == 200
        headers = upstream.visits[-1].headers
        assert headers["traceparent"] == f"00-{known}"
        assert "tracestate" not in headers
        assert "baggage" not in headers


@pytest.mark.attack("endpoints", "what the look at each event costs (a figure)")
def test_reading_each_event_costs_little(tried: Tried) -> None:
    stream = EventStream(Shape("chatcmpl-0123456789abcdef01234567", "llama3"))
    stream.feed(FIRST)
    rounds, best = 20_000, 1.0
    for _ in range(5):
        began = time.process_time()
        for _ in range(rounds):
            stream.feed(SECOND)
        best = min(best, (time.process_time() - began) / rounds)
    tried.times = 5 * rounds
    tried.figure(f"{best * 1e6:.2f} us of CPU each")
    assert best < 20e-6
