"""Endpoints are asked what their models are made of: once for each digest, and not in the way of the polls."""

import asyncio
import json
import logging
import random

import pytest
from tests.upstream.scripted import Server, a_client, answer, serving, until
from tests.upstream.test_polling import BLOB, FAST, IMPATIENT_OF_LISTS, PATIENT, SHOWN, VERSION, Looked, Ollama, polled

from ai_gateway.balancing.fleet import Fleet
from ai_gateway.balancing.resident import Weights
from ai_gateway.upstream.polling import Poller
from ai_gateway.upstream.weights import FAILURES_IN_A_ROW, FIRST_PAUSE_SECONDS
from ai_gateway.wire.address import Address

KNOWN = {"1": Weights(BLOB, 512)}
NOT_FOUND = answer(b"404 page not found", b"404 Not Found")


def tags(*digests: str) -> bytes:
    """An answer of /api/tags: a model for each of these digests."""
    listed = [{"name": f"m{number}", "digest": digest} for number, digest in enumerate(digests)]
    return answer(json.dumps({"models": listed}).encode())


def questions(server: Server) -> list[str]:
    """The names that /api/show was asked for."""
    bodies = [request.partition(b"\r\n\r\n")[2] for request in server.seen if b" /api/show " in request[:20]]
    return [json.loads(body)["model"] for body in bodies]


async def polls(server: Server, path: str, count: int) -> None:
    """Returns when so many more polls of a path came."""
    wanted = server.paths().count(path) + count
    await until(lambda: server.paths().count(path) >= wanted)


async def seconds_until(world: Looked, server: Server, count: int) -> float:
    """Lets time pass until there were so many questions; returns how much it was."""
    began = world.ahead

    def are_asked() -> bool:
        world.ahead += 1
        return len(questions(server)) >= count

    await until(are_asked)
    return world.ahead - began


async def test_each_digest_is_asked_for_once() -> None:
    """Two names of one digest are one question, and the next lists are none."""
    ollama = Ollama()
    ollama.answers[b"/api/tags"] = tags("1", "1", "2")
    async with polled(ollama, PATIENT) as (world, server):
        await until(lambda: world.fleet.weights.keys() == {"1", "2"})
        await polls(server, "/api/tags", 3)
        assert sorted(questions(server)) == ["m1", "m2"]
        assert world.fleet.weights["1"] == Weights(BLOB, 512)


async def test_an_endpoint_is_not_asked_for_what_another_one_told() -> None:
    """Facts are of a digest, wherever it is."""
    fleet = Fleet(asyncio.get_running_loop().time, random.Random(1))
    async with serving(Ollama()) as server, a_client() as client:
        poller = Poller(fleet, client, lambda: PATIENT, random.Random(1))
        here = server.address
        poller.follow(*fleet.apply([Address(here.host, here.port, uid=f"uid-{number}") for number in range(5)]))
        await until(lambda: fleet.weights == KNOWN)
        await polls(server, "/api/tags", 20)
        await poller.stop()
    assert questions(server) == ["tiny:latest"]


async def test_a_model_that_comes_later_is_asked_for_when_it_is_listed() -> None:
    """And what is gone is forgotten."""
    ollama = Ollama()
    ollama.answers[b"/api/ps"] = answer(b'{"models":[]}')
    async with polled(ollama, PATIENT) as (world, _):
        await until(lambda: world.fleet.weights == KNOWN)
        ollama.answers[b"/api/tags"] = tags("2")
        await until(lambda: world.fleet.weights.keys() == {"2"})


@pytest.mark.parametrize(
    "said", [NOT_FOUND, answer(b"{}"), answer(b"<html>"), b"garbage\r\n\r\n", answer(b"", b"204 No")]
)
async def test_a_failed_question_is_asked_again_after_the_next_list_and_then_ever_later(said: bytes) -> None:
    """So an endpoint without /api/show is not asked for ever."""
    ollama = Ollama()
    ollama.answers[b"/api/show"] = said
    async with polled(ollama, PATIENT) as (world, server):
        await until(lambda: len(questions(server)) == 2)
        await polls(server, "/api/tags", 3)
        assert len(questions(server)) == 2
        assert await seconds_until(world, server, 3) >= FIRST_PAUSE_SECONDS
        assert await seconds_until(world, server, 4) >= 2 * FIRST_PAUSE_SECONDS
        ollama.answers[b"/api/show"] = answer(SHOWN)
        await seconds_until(world, server, 5)
        await until(lambda: world.fleet.weights == KNOWN)


async def test_an_endpoint_that_refuses_all_questions_is_asked_few_after_each_list() -> None:
    """However many models it has; the log has one line of it, and health none."""
    ollama = Ollama()
    ollama.answers[b"/api/show"] = NOT_FOUND
    ollama.answers[b"/api/tags"] = tags(*map(str, range(500)))
    async with polled(ollama, PATIENT) as (world, server):
        await until(lambda: len(questions(server)) >= FAILURES_IN_A_ROW)
        assert len(questions(server)) <= FAILURES_IN_A_ROW * server.paths().count("/api/tags")
        assert world.endpoint.check_reasons == {}


async def test_the_log_has_one_line_of_an_endpoint_that_does_not_tell(caplog: pytest.LogCaptureFixture) -> None:
    """And no warning: calls go on without it."""
    caplog.set_level(logging.INFO, "ai_gateway.polling")
    ollama = Ollama()
    ollama.answers[b"/api/show"] = NOT_FOUND
    ollama.answers[b"/api/tags"] = tags("1", "2", "3")
    async with polled(ollama, PATIENT) as (world, server):
        await seconds_until(world, server, 12)
    lines = [record for record in caplog.records if "/api/show" in record.getMessage()]
    assert [(line.levelno, line.getMessage().partition(": ")[2]) for line in lines] == [
        (logging.INFO, "/api/show answered 404")
    ]


async def test_polls_do_not_wait_for_an_answer() -> None:
    """Ollama may read a large file from a slow disk for it."""
    ollama = Ollama()
    ollama.answers[b"/api/show"] = None
    async with polled(ollama, PATIENT) as (world, server):
        await until(lambda: questions(server))
        ollama.answers[b"/api/tags"] = answer(b'{"models":[{"name":"new"}]}')
        ollama.answers[b"/api/ps"] = answer(b'{"models":[{"name":"new"}]}')
        await world.until(lambda endpoint: endpoint.holds("new:latest") and endpoint.is_resident("new:latest"))
        assert world.endpoint.state == "up"


async def warned(world: Looked, version: bytes | None) -> list[str]:
    """What health says of the endpoint after its Ollama has become this version."""
    await world.until(lambda endpoint: endpoint.version == (None if version is None else version.decode()))
    return list(world.endpoint.check_reasons.values())


async def test_a_version_that_polls_can_crash_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """By the log; by health as long as it is there. Another such version is told again."""
    caplog.set_level(logging.WARNING, "ai_gateway.polling")
    ollama = Ollama()
    async with polled(ollama, IMPATIENT_OF_LISTS) as (world, server):
        assert await warned(world, b"0.33.0") == []
        for version in (b"0.24.0", b"0.32.10-rc1", b"0.32.10"):
            ollama.answers[b"/api/version"] = answer(b'{"version":"%b"}' % version)
            words = await warned(world, version)
            await polls(server, "/api/version", 3)
            assert bool(words) == (version != b"0.32.10")
    assert [record.getMessage() for record in caplog.records] == [
        f"endpoint {world.endpoint.address}: Ollama {version} can crash when /api/ps is requested while a model loads "
        "or unloads: update it to 0.32.10 or newer"
        for version in ("0.24.0", "0.32.10-rc1")
    ]


async def test_an_endpoint_that_comes_back_with_the_same_version_is_told_of_by_health_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log had it."""
    caplog.set_level(logging.WARNING, "ai_gateway.polling")
    ollama = Ollama()
    old = ollama.answers[b"/api/version"] = answer(b'{"version":"0.24.0"}')
    async with polled(ollama, FAST) as (world, _):
        await world.until(lambda endpoint: endpoint.check_reasons)
        ollama.answers[b"/api/version"] = answer(b"", b"500 No")
        await world.until(lambda endpoint: endpoint.state == "down")
        assert world.endpoint.check_reasons == {}
        ollama.answers[b"/api/version"] = old
        await world.until(lambda endpoint: endpoint.check_reasons)
    assert sum("can crash" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize("version", [b"0.0.0", b"0.32.10", b"0.33.0-rc2", b"something else", VERSION])
async def test_a_version_that_says_nothing_is_not_told_of(version: bytes) -> None:
    """Nor is a new one."""
    ollama = Ollama()
    said = version if version is VERSION else b'{"version":"%b"}' % version
    ollama.answers[b"/api/version"] = answer(said)
    async with polled(ollama, PATIENT) as (world, _):
        await world.until(lambda endpoint: endpoint.version)
        assert world.endpoint.check_reasons == {}
