"""Bodies and answers under the memory limits of the chart and of the sidecars: the kernel kills what takes more."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest
from tests.attack.bodies import CHAT_PATH, EMBEDDINGS_PATH, KINDS, MIB, take_unread
from tests.attack.command import Command, memory_limit, serving
from tests.attack.table import Tried
from tests.flow.upstream import Visit, answer, whole
from tests.flow.world import World, chat, config

from ai_gateway.config.types import Body

CHART: Final = 256 * MIB
SIDECAR: Final = 128 * MIB
LARGEST: Final = Body().max_bytes - 4096
KEPT: Final[Mapping[str, Any]] = {"level": "full", "hash_prompts": True, "mode": "blocking"}
# The dearest of each kind that is taken, and two that are refused.
DEAREST: Final = (
    'inputs of "a"', "inputs of empty lists", "developer messages", "messages with an escape each",
    "one message of many parts", "an image", "one long text of quotes", "a doubled last key",
)  # fmt: skip


async def at_once(command: Command, path: str, bodies: list[bytes]) -> list[int]:
    """The statuses of calls that are made together; a gateway that was killed answers nothing."""
    asked = (command.ask("POST", path, body, patience_seconds=240) for body in bodies)
    replies = await asyncio.gather(*asked, return_exceptions=True)
    assert command.is_alive, f"killed; {replies}"
    return [reply.status for reply in replies if not isinstance(reply, BaseException)]


@pytest.mark.attack("bodies", "one body as large as they may be, in 256 MiB")
@pytest.mark.parametrize("kind", KINDS)
async def test_one_body_within_the_limit_of_the_chart(world: World, tried: Tried, kind: str) -> None:
    path, status, make = KINDS[kind]
    upstream = await world.upstream(take_unread)
    with memory_limit(CHART) as group:
        async with serving(world.folder, config([upstream.url]), cgroup=group) as command:
            await command.ready()
            before = command.peak_bytes
            assert await at_once(command, path, [make(LARGEST)]) == [status]
            assert (await command.chat()).status == 200
            tried.figure(f"{command.peak_bytes // MIB} MiB at most, {(command.peak_bytes - before) // MIB} for it")


@pytest.mark.attack("bodies", "as many bodies at once as there is room for and two more, content kept")
@pytest.mark.parametrize(("kind", "limit"), [*((kind, SIDECAR) for kind in DEAREST), (DEAREST[0], CHART)])
async def test_as_many_bodies_as_there_is_room_for(world: World, tried: Tried, kind: str, limit: int) -> None:
    path, status, make = KINDS[kind]
    upstream = await world.upstream(take_unread)
    settings = config([upstream.url], audit=dict(KEPT), balancing={"slots": 8})
    tried.times = 5
    with memory_limit(limit) as group:
        async with serving(world.folder, settings, cgroup=group) as command:
            await command.ready()
            body = make(18 * MIB)
            for _ in range(3):
                found = await at_once(command, path, [body] * tried.times)
                assert set(found) <= {status, 503}
                assert found.count(status) >= 2
            assert (await command.chat()).status == 200
            tried.figure(f"{command.peak_bytes // MIB} MiB at most")


def embeddings(size: int) -> bytes:
    """Vectors, as Ollama writes them."""
    vector = b'{"object":"embedding","embedding":[%b],"index":0}' % b",".join([b"0.0123456789"] * 1024)
    return b'{"object":"list","data":[%b],"model":"m"}' % b",".join([vector] * (size // len(vector)))


def probabilities(size: int) -> bytes:
    """A short answer with the probabilities of a long one."""
    token = b'{"token":"a","logprob":-0.1,"bytes":[97],"top_logprobs":[]}'
    choice = b'{"index":0,"message":{"content":"x"},"logprobs":{"content":[%b]},"finish_reason":"stop"}'
    return b'{"id":"x","choices":[%b]}' % (choice % b",".join([token] * (size // len(token))))


ANSWERS: Final[Mapping[str, tuple[str, Callable[[int], bytes]]]] = {
    "vectors": (EMBEDDINGS_PATH, embeddings),
    "a text": (CHAT_PATH, lambda size: answer("word " * (size // 5))),
    "log probabilities": (CHAT_PATH, probabilities),
    "blanks": (CHAT_PATH, lambda size: b" " * size + answer()),
    "lists": (CHAT_PATH, lambda size: answer(x=0)[:-2] + b"[" + b"[]," * (size // 3) + b"1]}"),
}


@pytest.mark.attack("bodies", "whole answers as large as they may be, and of 100 MB")
@pytest.mark.parametrize(("kind", "limit"), [*((kind, SIDECAR) for kind in ANSWERS), ("vectors", CHART)])
async def test_whole_answers_are_bounded(world: World, tried: Tried, kind: str, limit: int) -> None:
    path, make = ANSWERS[kind]
    sizes = [Body().max_answer_bytes - MIB, 100_000_000]

    async def act(visit: Visit) -> None:
        await visit.say(whole(make(sizes[0])))

    upstream = await world.upstream(act)
    body = chat() if path == CHAT_PATH else b'{"model":"llama3","input":"x"}'
    with memory_limit(limit) as group:
        async with serving(world.folder, config([upstream.url], audit=dict(KEPT)), cgroup=group) as command:
            await command.ready()
            assert await at_once(command, path, [body]) == [200]
            assert set(await at_once(command, path, [body] * 3)) <= {200, 503}
            del sizes[0]
            reply = await command.ask("POST", path, body)
            assert (reply.status, reply.error["code"]) == (502, "answer_too_large")
            tried.times = 5
            tried.figure(f"{command.peak_bytes // MIB} MiB at most")
