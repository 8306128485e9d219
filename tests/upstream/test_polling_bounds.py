"""For any answers of an endpoint, polling goes on, is cheap, and logs what is wrong."""

import asyncio
import gzip
import json
import logging
import random

import pytest
from tests.flow.waiting import soon
from tests.upstream.scripted import Line, a_client, answer, serving, until
from tests.upstream.test_polling import FAST, TAGS, VERSION, Ollama, polled

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.balancing.resident import HeldModel
from ai_gateway.upstream.inventory import MOST_MODELS
from ai_gateway.upstream.polling import Poller
from ai_gateway.upstream.transport import MAX_BYTES

BLANKS = gzip.compress(b" " * (16 << 20))
MANY = json.dumps({"models": [{"name": f"m{number}"} for number in range(MOST_MODELS + 1)]}).encode()


def reasons(endpoint: Endpoint) -> str:
    return "; ".join([endpoint.reason or "", *endpoint.check_reasons.values()])


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (answer(MANY), f"/api/tags lists more than {MOST_MODELS} models"),
        (answer(TAGS + b" " * MAX_BYTES), "larger than"),
        (answer(BLANKS, extra=b"content-encoding: gzip\r\n"), "compressed"),
        (answer(b"<html>"), "is not Ollama's list"),
        (answer(TAGS.replace(b"7", b"NaN")), "is not Ollama's list"),
        (answer(TAGS.replace(b"tiny", b"ti\xffny")), "is not Ollama's list"),
        (answer(b"", b"204 No Content"), "answered 204"),
        (answer(b"", b"302 Found", b"location: /x\r\n"), "answered 302"),
        (answer(b"", b"302 Found", b"location: mailto:a\r\n"), "answered 302"),
        (answer(TAGS, b"500 No"), "answered 500"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n{", "did not answer within 1 s"),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", "not an HTTP answer"),
    ],
)
@pytest.mark.parametrize("path", ["/api/tags", "/api/ps"])
async def test_a_refused_list_has_a_reason_until_a_valid_one_comes(said: bytes, words: str, path: str) -> None:
    """The endpoint is up all the same, with the models that it listed last, on disk and in memory."""
    ollama = Ollama()
    async with polled(ollama) as (world, _):
        await world.until(lambda endpoint: endpoint.held and endpoint.resident)
        good, ollama.answers[path.encode()] = ollama.answers[path.encode()], said
        await world.until(lambda endpoint: words.replace("/api/tags", path) in reasons(endpoint))
        assert world.endpoint.state == "up"
        assert world.endpoint.holds("tiny:latest")
        assert world.endpoint.is_resident("tiny:latest")
        ollama.answers[path.encode()] = good
        await world.until(lambda endpoint: not reasons(endpoint) and endpoint.resident)


async def test_the_log_has_each_reason_once(caplog: pytest.LogCaptureFixture) -> None:
    """However often it is found."""
    caplog.set_level(logging.WARNING, "ai_gateway.polling")
    ollama = Ollama()
    ollama.answers[b"/api/tags"] = answer(MANY)
    async with polled(ollama) as (world, server):
        await until(lambda: server.paths().count("/api/tags") > 5)
    said = [record.getMessage() for record in caplog.records if "/api/tags" in record.getMessage()]
    assert said == [f"endpoint {world.endpoint.address}: /api/tags lists more than {MOST_MODELS} models"]


async def test_invalid_names_are_left_out_with_a_reason() -> None:
    """The others count."""
    ollama = Ollama()
    ollama.answers[b"/api/tags"] = answer(b'{"models":[{"name":"a b"},{"name":"good"},7]}')
    async with polled(ollama) as (world, _):
        await world.until(lambda endpoint: endpoint.holds("good:latest"))
        await world.until(lambda endpoint: "invalid or repeated model name" in reasons(endpoint))
        assert list(world.endpoint.held or ()) == ["good:latest"]


@pytest.mark.parametrize("path", [b"/api/version", b"/api/tags", b"/api/ps"])
async def test_an_answer_that_drips_is_over_in_its_time(path: bytes) -> None:
    """A byte now and then is no answer."""
    ollama = Ollama()
    gone = asyncio.Event()

    async def script(line: Line) -> None:
        while request := await line.request():
            if request.split(b" ")[1] != path:
                await line.say(ollama.answers[request.split(b" ")[1]] or b"")
                continue
            await line.say(b"HTTP/1.1 200 OK\r\n\r\n")
            try:
                while True:
                    await line.say(b" ")
                    await asyncio.sleep(0.005)
            finally:
                gone.set()

    async with polled(script) as (world, _):
        await world.until(lambda endpoint: f"{path.decode()} did not answer within 1 s" in reasons(endpoint))
        await soon(gone.wait())


@pytest.mark.parametrize("size", ["9" * 5000, "-1", "1e999", "1" + "0" * 400, '"' + "9" * 5000 + '"'])
async def test_no_number_in_an_answer_ends_the_polling(size: str) -> None:
    """Python refuses to read or write one of thousands of digits, with an error of another kind."""
    ollama = Ollama()
    entry = f'{{"name":"x","size":{size},"digest":{size},"modified_at":{size},"details":{{"family":{size}}}}}'
    ollama.answers[b"/api/tags"] = answer(f'{{"models":[{entry}]}}'.encode())
    ollama.answers[b"/api/ps"] = answer(f'{{"models":[{entry}]}}'.encode())
    async with polled(ollama) as (world, _):
        await world.until(lambda endpoint: endpoint.holds("x:latest") and endpoint.is_resident("x:latest"))
        ollama.answers[b"/api/tags"] = answer(TAGS)
        await world.until(lambda endpoint: endpoint.holds("tiny:latest"))
        ollama.answers[b"/api/version"] = answer(f'{{"version":{size}}}'.encode())
        await world.until(lambda endpoint: endpoint.state == "down")
        ollama.answers[b"/api/version"] = answer(VERSION)
        await world.until(lambda endpoint: endpoint.state == "up")


async def test_an_unexpected_error_does_not_end_the_polling(caplog: pytest.LogCaptureFixture) -> None:
    """It is in the log, and polling starts again."""

    class Faulty(Fleet):
        is_faulty = True

        def saw_models(self, endpoint: Endpoint, held: dict[str, HeldModel]) -> None:
            if self.is_faulty:
                self.is_faulty = False
                raise ZeroDivisionError
            super().saw_models(endpoint, held)

    fleet = Faulty(asyncio.get_running_loop().time, random.Random(1))
    async with serving(Ollama()) as server, a_client() as client:
        poller = Poller(fleet, client, lambda: FAST, random.Random(1))
        new, gone = fleet.apply([server.address])
        poller.follow(new, gone)
        await until(lambda: new[0].holds("tiny:latest"))
        await poller.stop()
    assert "polling starts again" in caplog.text
