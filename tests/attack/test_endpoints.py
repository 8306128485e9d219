"""What an endpoint says of itself, and how: a real gateway stays small, quick and honest about it."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.attack.command import Command, serving
from tests.attack.odd_endpoint import (
    BLOCK,
    OK,
    OddEndpoint,
    floods,
    gzip_answer,
    health,
    scrape,
    squeezed_blanks,
    tags,
)
from tests.attack.table import Tried
from tests.flow.upstream import Act, Visit, answer, answer_well, framed, whole
from tests.flow.waiting import until
from tests.flow.world import CHAT, chat, config

MEBI = 1 << 20
MOST_BYTES = 110 * MEBI  # a gateway at rest has 45 to 60, and three polls of each endpoint run at a time
POLLS = 5
POLLING = {"interval": "100ms", "models_interval": "100ms"}
LOOKS = ("/api/version", "/api/tags", "/api/ps")


@asynccontextmanager
async def attacked(
    folder: Path, acts: dict[str, Act], act: Act = answer_well, **more: Any
) -> AsyncIterator[tuple[Command, OddEndpoint]]:
    """A gateway in a process of its own over an odd endpoint and a good one, which does not have the odd one's model
    where that has acts for calls: those are served all the while, or the odd one gets them all."""
    models = ("llama3:latest",) if act is answer_well else ("other:latest",)
    odd, good = OddEndpoint(act, acts=acts), OddEndpoint(answer_well, models=models)
    await odd.start()
    await good.start()
    try:
        content = config([odd.url, good.url], **{"polling": POLLING, **more})
        async with serving(folder, content) as command:
            await command.ready()
            yield command, odd
            assert command.is_alive
    finally:
        await odd.stop()
        await good.stop()


def asked(odd: OddEndpoint, path: str) -> int:
    return sum(look.path == path for look in odd.looks)


async def until_complaint(command: Command, words: str) -> None:
    """Returns once health says that of the odd endpoint."""
    for _ in range(400):
        found = await health(command)
        if words in str(found["complaint"]):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{words!r} is not in {found}")


@pytest.mark.attack("endpoints", "polls answered with 600 MiB of blanks in gzip")
@pytest.mark.parametrize("path", LOOKS)
async def test_a_compressed_answer_takes_no_memory(tmp_path: Path, tried: Tried, path: str) -> None:
    bomb = gzip_answer(squeezed_blanks(600))
    acts: dict[str, Act] = {path: lambda visit: visit.say(bomb)}
    async with attacked(tmp_path, acts) as (command, odd):
        await until(lambda: asked(odd, path) >= POLLS)
        await until_complaint(command, "compressed")
        assert (await command.chat()).status == 200
        assert command.peak_bytes < MOST_BYTES
        tried.times = asked(odd, path)
        tried.figure(f"{command.peak_bytes // MEBI} MiB at most")
        assert command.log.count("compressed") <= 3


@pytest.mark.attack("endpoints", "polls answered with 800 MB of blanks")
@pytest.mark.parametrize("path", LOOKS)
async def test_a_plain_answer_without_end_takes_no_memory(tmp_path: Path, tried: Tried, path: str) -> None:
    begin = OK + b"content-type: application/json\r\n\r\n"
    async with attacked(tmp_path, {path: floods(begin, BLOCK, 800)}) as (command, odd):
        cpu = command.loop_cpu_seconds
        await until(lambda: asked(odd, path) >= POLLS)
        await until_complaint(command, "larger than")
        assert (await command.chat()).status == 200
        assert command.peak_bytes < MOST_BYTES
        tried.times = asked(odd, path)
        tried.figure(f"{command.peak_bytes // MEBI} MiB at most")
        tried.figure(f"{(command.loop_cpu_seconds - cpu) / tried.times * 1000:.0f} ms of CPU each")


HEADS: dict[str, tuple[bytes, bytes]] = {
    "a reason": (b"HTTP/1.1 200 ", b"O"),
    "a value": (OK + b"x: ", b"y"),
    "a name": (OK, b"x"),
    "fields": (OK, b"x: y\r\n"),
    "folded lines": (OK + b"x: y", b"\r\n "),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a chunk extension": (OK + b"transfer-encoding: chunked\r\n\r\n5;", b"x"),
    "trailers": (OK + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", b"x: y\r\n"),
}


@pytest.mark.attack("endpoints", "heads, chunk sizes and trailers without end, to polls and to a call")
@pytest.mark.parametrize("what", HEADS)
async def test_a_head_without_end_costs_no_time(tmp_path: Path, tried: Tried, what: str) -> None:
    begin, again = HEADS[what]
    flood = floods(begin, again * (MEBI // len(again)), 100)
    async with attacked(tmp_path, {"/api/tags": flood}, flood, queue={"max_waiting": 4}) as (command, odd):
        cpu = command.loop_cpu_seconds
        await until(lambda: asked(odd, "/api/tags") >= POLLS)
        for _ in range(5):
            assert (await command.chat()).status in (502, 503)
        tried.times = asked(odd, "/api/tags") + len(odd.visits)
        spent = (command.loop_cpu_seconds - cpu) / tried.times
        tried.figure(f"{spent * 1000:.0f} ms of CPU each, all else included")
        assert spent < 0.2
        assert (await health(command))["address"] == odd.url


@pytest.mark.attack("endpoints", "a poll answered with 200,000 names")
@pytest.mark.parametrize("discover", [False, True])
@pytest.mark.parametrize("path", ["/api/tags", "/api/ps"])
async def test_too_many_names_are_none(tmp_path: Path, tried: Tried, path: str, discover: bool) -> None:
    many = tags(f"m{number}" for number in range(200_000))
    small = whole(b'{"models":[' + b",".join(b'{"name":"%d"}' % number for number in range(100_000)) + b"]}")
    catalog = {"catalog": {"discover": discover}}
    says = [many, small]

    async def act(visit: Visit) -> None:
        says.reverse()
        await visit.say(says[0])

    async with attacked(tmp_path, {path: act}, **catalog) as (command, odd):
        cpu = command.loop_cpu_seconds
        await until(lambda: asked(odd, path) >= 2 * POLLS)
        await until_complaint(command, f"{path}")
        assert len(await scrape(command)) < MEBI
        assert (await command.ask("GET", "/v1/models")).status == 200
        tried.times = asked(odd, path)
        tried.figure(f"{(command.loop_cpu_seconds - cpu) / tried.times * 1000:.0f} ms of CPU each, all else included")
        assert command.loop_cpu_seconds - cpu < 0.1 * tried.times


@pytest.mark.attack("endpoints", "as many names as are taken, loaded and discovered")
async def test_the_most_names_that_are_taken_are_told_quickly(tmp_path: Path, tried: Tried) -> None:
    listed = tags(f"registry.example.com/team/model-{number}:q4_K_M" for number in range(2000))
    acts: dict[str, Act] = {"/api/tags": lambda v: v.say(listed), "/api/ps": lambda v: v.say(listed)}
    async with attacked(tmp_path, acts, catalog={"discover": True}, polling={"interval": "5s"}) as (command, _):
        found = await health(command)
        assert found["complaint"] is None
        assert len(found["models"]) == 2000  # type: ignore[arg-type]  # a list
        for ask, most in ((lambda: health(command), 0.5), (lambda: scrape(command), 1.0)):
            cpu = command.loop_cpu_seconds
            await ask()
            spent = command.loop_cpu_seconds - cpu
            tried.figure(f"{spent * 1000:.0f} ms of CPU")
            assert spent < most


@pytest.mark.attack("endpoints", "other names with every poll, each of them called")
async def test_names_that_come_and_go_are_forgotten(tmp_path: Path, tried: Tried) -> None:
    round_ = 0

    async def act(visit: Visit) -> None:
        nonlocal round_
        round_ += 1
        await visit.say(tags([f"r{round_}-{number}" for number in range(500)] + ["llama3:latest"]))

    polling = {"interval": "30ms", "models_interval": "30ms"}
    async with attacked(tmp_path, {"/api/tags": act}, catalog={"discover": True}, polling=polling) as (command, odd):
        await until(lambda: asked(odd, "/api/tags") >= 5)
        sizes, peaks = [], []
        for _ in range(6):
            seen = asked(odd, "/api/tags")
            await until(lambda seen=seen: asked(odd, "/api/tags") >= seen + 8, seconds=30)  # type: ignore[misc]
            await command.chat(model=f"r{round_}-7")
            sizes.append(len(await scrape(command)))
            peaks.append(command.peak_bytes)
        tried.times = round_
        tried.figure(f"{(peaks[-1] - peaks[2]) // MEBI} MiB more after {500 * (round_ - 5)} names")
        assert max(sizes) < 3 * min(sizes)
        assert peaks[-1] - peaks[2] < 24 * MEBI


ODD_TAGS: dict[str, bytes] = {
    "wrong types": b'{"models":[{"name":7},{"name":null},{"name":["x"]},7,null,[],"x"]}',
    "NaN": b'{"models":[{"name":"x","size":NaN}]}',
    "a number of 5,000 digits": b'{"models":[{"name":"x","size":%b,"digest":%b}]}' % (b"9" * 5000, b"9" * 5000),
    "deep nesting": b'{"models":' + b"[" * 500_000 + b"]" * 500_000 + b"}",
    "the same name again": b'{"models":[' + b",".join([b'{"name":"x","digest":"1"}'] * 500) + b"]}",
    "no name": b'{"models":[{"name":""},{"digest":"x"},{}]}',
    "control characters": b'{"models":[{"name":"x\\u0000\\u001b[31m","digest":"\\u0007"}]}',
    "a name of a million letters": b'{"models":[{"name":"' + b"x" * 1_000_000 + b'"}]}',
    "invalid UTF-8": b'{"models":[{"name":"\xff\xfe"}]}',
    "UTF-16": '{"models":[]}'.encode("utf-16"),
    "a million numbers": b'{"models":[' + b"1," * 900_000 + b"1]}",
    "keys without end": b'{"models":[],' + b",".join(b'"k%d":1' % number for number in range(150_000)) + b"}",
    "a list of models in a model": b'{"models":[{"models":[{"name":"x"}]}]}',
    "HTML": b"<html>" * 1000,
    "nothing": b"",
}


@pytest.mark.attack("endpoints", "polls answered with nonsense")
@pytest.mark.parametrize("what", ODD_TAGS)
async def test_nonsense_in_a_poll_is_said_and_passed_over(tmp_path: Path, tried: Tried, what: str) -> None:
    said = whole(ODD_TAGS[what])
    acts: dict[str, Act] = {"/api/tags": lambda visit: visit.say(said), "/api/ps": lambda visit: visit.say(said)}
    async with attacked(tmp_path, acts) as (command, odd):
        cpu = command.loop_cpu_seconds
        await until(lambda: asked(odd, "/api/tags") >= POLLS and asked(odd, "/api/ps") >= POLLS)
        found = await health(command)
        assert (found["state"], found["address"]) == ("up", odd.url)
        assert (found["complaint"] is None) == (what == "a number of 5,000 digits"), found
        assert (await command.chat()).status == 200
        assert b"\x1b" not in await scrape(command)
        tried.times = len(odd.looks)
        assert command.loop_cpu_seconds - cpu < 0.1 * tried.times
        assert command.log.count("WARN") <= 6, command.log
        assert "Traceback" not in command.log


ODD_PROBES: dict[str, tuple[bytes, str]] = {
    "a redirect": (whole(b"", "302 Found", ["location: http://169.254.169.254/"]), "answered 302"),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", "answered 204"),
    "HTTP/0.9": (b'{"version":"0.24.0"}', "no HTTP answer"),
    "TLS": (b"\x15\x03\x01\x00\x02\x02\x0a" * 3, "no HTTP answer"),
    "HTTP/2": (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + b"\x00" * 18, "no HTTP answer"),
    "SSH": (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "no HTTP answer"),
    "a version of a million letters": (whole(b'{"version":"' + b"9" * 1_000_000 + b'"}'), "is this an Ollama?"),
    "a version with an escape in it": (whole(b'{"version":"\\u001b[2J"}'), "is this an Ollama?"),
    "a switch of protocols": (b"HTTP/1.1 101 Go\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", "no HTTP answer"),
    "lengths that differ": (OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}x", "no HTTP answer"),
}


@pytest.mark.attack("endpoints", "probes answered by another protocol, or with a version that is none")
@pytest.mark.parametrize("what", ODD_PROBES)
async def test_what_is_no_ollama_is_down_and_says_why(tmp_path: Path, tried: Tried, what: str) -> None:
    said, words = ODD_PROBES[what]

    async def act(visit: Visit) -> None:
        await visit.say(said)
        visit.hang_up()

    async with attacked(tmp_path, {"/api/version": act}) as (command, odd):
        await until_complaint(command, words)
        assert (await health(command))["state"] == "down"
        assert (await command.chat()).status == 200
        tried.times = asked(odd, "/api/version")
        assert "\x1b" not in command.log


@pytest.mark.attack("endpoints", "an answer with HTTP/1.0, without a length")
async def test_an_old_server_is_read_to_its_end(tmp_path: Path) -> None:
    async def act(visit: Visit) -> None:
        await visit.say(b"HTTP/1.0 200 OK\r\n\r\n", b'{"version":', b'"0.24.0"}')
        visit.hang_up()

    async with attacked(tmp_path, {"/api/version": act}) as (command, _):
        assert (await health(command))["state"] == "up"


@pytest.mark.attack("endpoints", "/api/show with 600 MiB of blanks, plain and in gzip, and details without end")
@pytest.mark.parametrize("what", ["gzip", "plain", "capabilities", "facts"])
async def test_details_take_no_memory(tmp_path: Path, tried: Tried, what: str) -> None:
    saying: dict[str, Callable[[], Act]] = {
        "gzip": lambda: _says(gzip_answer(squeezed_blanks(600))),
        "plain": lambda: floods(OK + b"\r\n", BLOCK, 600),
        "capabilities": lambda: _says(whole(json.dumps({"capabilities": ["x" * 60] * 30_000}).encode())),
        "facts": lambda: _says(
            whole(json.dumps({"model_info": {f"k{number}": number for number in range(100_000)}}).encode())
        ),
    }
    acts: dict[str, Act] = {"/api/show": saying[what](), "/api/version": _says(whole(b'{"version":"1"}'))}
    async with attacked(tmp_path, acts) as (command, odd):
        await until(lambda: asked(odd, "/api/version") > 2)
        for _ in range(POLLS):
            reply = await command.ask("GET", "/v1/models/llama3")
            assert (reply.status, reply.json["capabilities"]) == (200, [])
        assert command.peak_bytes < MOST_BYTES
        tried.times = POLLS
        tried.figure(f"{command.peak_bytes // MEBI} MiB at most")


def _says(said: bytes) -> Act:
    async def act(visit: Visit) -> None:
        await visit.say(said)

    return act


@pytest.mark.attack("endpoints", "errors of calls that are large, endless, compressed or odd")
@pytest.mark.parametrize("what", ["large", "endless", "gzip", "not UTF-8", "drips"])
async def test_an_error_of_a_call_is_short_and_takes_no_memory(tmp_path: Path, tried: Tried, what: str) -> None:
    head = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
    said: dict[str, Act] = {
        "large": _says(whole(json.dumps({"error": "x" * 50_000}).encode(), "400 Bad Request")),
        "endless": floods(head + b'\r\n{"error":"', b"x" * MEBI, 500),
        "gzip": _says(gzip_answer(squeezed_blanks(600)).replace(b"200 OK", b"400 No", 1)),
        "not UTF-8": _says(whole(b'{"error":"\xff\xfe"}', "400 Bad Request")),
        "drips": floods(head + b"\r\n", b"x", 200),
    }
    async with attacked(tmp_path, {}, said[what], queue={"max_waiting": 4}) as (command, odd):
        for _ in range(6):
            reply = await command.chat()
            assert reply.status in (400, 502, 503)
            assert len(reply.body) < 4096
            assert reply.error["type"] in ("invalid_request", "backend_unavailable")
        assert odd.visits
        assert command.peak_bytes < MOST_BYTES
        tried.times = len(odd.visits)
        tried.figure(f"{command.peak_bytes // MEBI} MiB at most")


@pytest.mark.attack(
    "endpoints", "a later answer that came before its request, in one breath with the first or after it"
)
@pytest.mark.parametrize("is_late", [False, True])
async def test_nobody_gets_an_answer_that_came_before_the_request(tmp_path: Path, tried: Tried, is_late: bool) -> None:
    evil = whole(answer("EVIL"))

    async def act(visit: Visit) -> None:
        good = whole(answer("good"))
        await visit.say(*([good, evil] if is_late else [good + evil]))

    async with attacked(tmp_path, {}, act) as (command, odd):
        replies = [await command.chat() for _ in range(40)]
        waves = await asyncio.gather(*(command.chat() for _ in range(40)))
        assert {reply.status for reply in (*replies, *waves)} <= {200}
        assert not any(b"EVIL" in reply.body for reply in (*replies, *waves))
        tried.times = len(odd.visits)


@pytest.mark.attack("endpoints", "an answer that lies in the kernel when the next call comes")
async def test_what_the_loop_has_not_read_yet_answers_no_call(tmp_path: Path, tried: Tried) -> None:
    """The gateway is stopped for a moment, so that the call is what it sees first."""
    async with attacked(tmp_path, {}, _says(whole(answer("good")))) as (command, odd):
        line = await command.open()
        for number in range(10):
            await line.send("POST", CHAT, chat())
            assert b"good" in (await line.reply()).body
            command.process.send_signal(signal.SIGSTOP)
            await line.send("POST", CHAT, chat())
            await odd.visits[-1].say(whole(answer("EVIL")))
            command.process.send_signal(signal.SIGCONT)
            reply = await line.reply()
            assert (reply.status, b"EVIL" in reply.body) == (200, False), number
        line.leave()
        tried.times = 10


@pytest.mark.attack("endpoints", "a stream's end with an answer behind it")
async def test_a_stream_leaves_no_answer_behind(tmp_path: Path, tried: Tried) -> None:
    from tests.flow.upstream import DONE, END, SSE_HEAD, event

    async def act(visit: Visit) -> None:
        stream = SSE_HEAD + framed(event("good")) + framed(event("", "stop")) + framed(DONE) + END
        await visit.say(stream + whole(answer("EVIL")))

    async with attacked(tmp_path, {}, act) as (command, odd):
        for _ in range(20):
            assert b"EVIL" not in (await command.chat(stream=True)).body
        tried.times = len(odd.visits)
