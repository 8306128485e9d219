"""Reloads come one after the other, in steps that are short; what cannot be put in force is told."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from tests.flow.waiting import soon

from ai_gateway.config.live import Live, digest_of
from ai_gateway.config.types import Config

GOOD = b"models: {a: }"


async def test_contents_are_taken_in_the_order_in_which_they_are_offered() -> None:
    """One that takes long is not overtaken by the next one; what was offered last is in force at the end."""
    go_on = threading.Event()
    applied: list[list[str]] = []

    def prepare(config: Config) -> list[str]:
        if "slow" in config.models:
            go_on.wait(10)
        return list(config.models)

    live = Live("the test", applied.append, prepare)
    offered = [asyncio.create_task(live.offer(f"models: {{{name}: }}".encode())) for name in ("slow", "b", "c")]
    await asyncio.sleep(0.05)
    assert applied == []
    assert not live.is_settled
    go_on.set()
    await asyncio.gather(*offered)
    assert applied == [["slow"], ["b"], ["c"]]
    assert live.digest == digest_of(b"models: {c: }")


async def test_a_config_is_put_in_force_in_steps() -> None:
    """Others go on between them, and it is in force with the last one."""
    seen: list[bool] = []

    def apply(_: Config) -> Iterator[None]:
        for _step in range(3):
            yield

    live = Live("the test", apply)
    offered = asyncio.create_task(live.offer(GOOD))
    while not offered.done():
        seen.append(live.config is not None)
        await asyncio.sleep(0)
    assert live.config is not None
    assert not any(seen)


@pytest.mark.parametrize("place", ["prepare", "apply", "later"])
async def test_a_config_that_cannot_be_put_in_force_is_told(place: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever goes wrong: formerly health said ok, with the new digest, and a traceback was in the log."""

    def apply(config: Config) -> Iterator[None]:
        if place == "apply" and "a" in config.models:
            raise ZeroDivisionError("of ours")
        yield
        if place == "later" and "a" in config.models:
            raise ZeroDivisionError("of ours")

    def prepare(config: Config) -> Config:
        if place == "prepare" and "a" in config.models:
            raise ZeroDivisionError("of ours")
        return config

    live = Live("the test", apply, prepare)
    await live.offer(b"models: {b: }")
    assert await live.offer(GOOD) == [("", "cannot be read: ZeroDivisionError: of ours")]
    assert live.digest == digest_of(b"models: {b: }")
    assert live.total_refused == 1
    assert caplog.text.count("Traceback") == 1
    await live.offer(b"models: {c: }")
    assert (live.complaints, live.digest) == ([], digest_of(b"models: {c: }"))


async def test_the_start_waits_until_what_has_come_is_understood() -> None:
    go_on = threading.Event()
    live = Live("the test", lambda _: None, lambda _: go_on.wait(10))
    offered = asyncio.create_task(live.offer(GOOD))
    settled = asyncio.create_task(live.settled())
    await asyncio.sleep(0.05)
    assert not settled.done()
    go_on.set()
    await soon(settled)
    assert live.config is not None
    await offered
