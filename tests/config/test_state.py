"""The config in force, wherever its content comes from: what is bad is told once, what came late may need a restart."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.config.pem_files import write_pair
from tests.flow.waiting import soon

from ai_gateway.config.state import ConfigState, digest_of
from ai_gateway.config.types import Config

GOOD, BAD = b"models: {a: }", b"models: {a: {x: 1}}"


class Kept:
    """A live config, what was applied of it, and how often a restart was asked for."""

    def __init__(self) -> None:
        self.applied: list[Config] = []
        self.restarts = 0
        self.live = ConfigState("the test", self.applied.append)

    @classmethod
    async def of(cls, *offered: bytes) -> "Kept":
        """With these contents, one after the other."""
        kept = cls()
        for content in offered:
            await kept.live.submit(content)
        return kept

    def bind(self, *decided: str) -> None:
        """The gateway has started with what there is; flags stand above these keys."""
        self.live.bind(self._restart, frozenset(decided))

    def _restart(self) -> None:
        self.restarts += 1


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]


async def test_the_same_mistake_made_again_is_in_the_log_once(caplog: pytest.LogCaptureFixture) -> None:
    """Also with a good config in between; another mistake is told. Each is counted."""
    kept = await Kept.of(GOOD, BAD, GOOD, BAD)
    assert len(errors(caplog)) == 1
    await kept.live.submit(b"models: [")
    assert len(errors(caplog)) == 2
    assert kept.live.total_refused == 3


async def test_the_same_content_offered_again_is_not_looked_at() -> None:
    """Whether it is good or bad."""
    kept = await Kept.of(GOOD, GOOD, BAD, BAD)
    assert (len(kept.applied), kept.live.total_refused) == (1, 1)
    assert kept.live.digest == digest_of(GOOD)


async def test_the_same_lack_is_in_the_log_once(caplog: pytest.LogCaptureFixture) -> None:
    """And keeps what is in force; content that was there before is taken anew."""
    kept = await Kept.of(GOOD)
    for _ in range(3):
        kept.live.config_missing("it is gone")
    assert errors(caplog) == ["config refused, the last good one stays in force: it is gone"]
    await kept.live.submit(GOOD)
    assert (kept.live.reasons, len(kept.applied)) == ([], 2)


def test_the_start_waits_for_what_passes_and_for_nothing_else() -> None:
    """An API server that is away may be back in a moment; a ConfigMap that is not there is an answer."""
    live = Kept().live
    settled = []
    for is_passing in (True, False, True):
        live.config_missing(f"passing: {is_passing}", is_passing)
        settled.append(live.has_outcome)
    assert settled == [False, True, True]


@pytest.mark.parametrize("content", [GOOD, BAD])
async def test_content_ends_the_wait_good_or_bad(content: bytes) -> None:
    assert (await Kept.of(content)).live.has_outcome


@pytest.mark.parametrize("changed", ["listen: ':1'", "admin: ':1'", "drain: {delay: 1s}"])
async def test_a_first_config_that_comes_after_the_start_may_ask_for_a_new_start(changed: str) -> None:
    """Once, and not before the gateway has bound anything."""
    kept = Kept()
    kept.bind()
    await kept.live.submit(changed.encode())
    assert kept.restarts == 1
    await kept.live.submit(f"{changed}\nmodels: {{a: }}".encode())
    assert kept.restarts == 1


async def test_https_in_a_first_config_that_comes_after_the_start_asks_for_a_new_start(tmp_path: Path) -> None:
    """In plain HTTP it must not go on."""
    certificate, key = write_pair(tmp_path)
    kept = Kept()
    kept.bind()
    await kept.live.submit(f"tls: {{certificate: {certificate}, key: {key}}}".encode())
    assert kept.restarts == 1


async def test_a_first_config_that_fits_what_was_bound_asks_for_nothing() -> None:
    """Nor does one that only says what flags have decided: formerly that was a restart, each time anew."""
    kept = Kept()
    kept.bind("listen")
    await kept.live.submit(b"listen: ':1'\nmodels: {a: }")
    assert (kept.restarts, kept.live.restart_required) == (0, [])


async def test_a_later_config_never_ends_a_gateway_that_serves() -> None:
    """It is named, and waits for somebody to restart it."""
    kept = await Kept.of(GOOD)
    kept.bind()
    await kept.live.submit(b"listen: ':1'\nadmin: ':2'")
    assert (kept.restarts, kept.live.restart_required) == (0, ["listen", "admin"])


async def test_a_bad_first_config_asks_for_no_restart() -> None:
    kept = Kept()
    kept.bind()
    await kept.live.submit(b"listen: nonsense")
    assert (kept.restarts, kept.applied) == (0, [])


async def test_contents_are_taken_in_the_order_in_which_they_are_offered() -> None:
    """One that takes long is not overtaken by the next one; what was offered last is in force at the end."""
    go_on = threading.Event()
    applied: list[list[str]] = []

    def prepare(config: Config) -> list[str]:
        if "slow" in config.models:
            go_on.wait(60)
        return list(config.models)

    live = ConfigState("the test", applied.append, prepare)
    offered = [asyncio.create_task(live.submit(f"models: {{{name}: }}".encode())) for name in ("slow", "b", "c")]
    await asyncio.sleep(0.05)
    assert applied == []
    assert not live.has_outcome
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

    live = ConfigState("the test", apply)
    offered = asyncio.create_task(live.submit(GOOD))
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

    live = ConfigState("the test", apply, prepare)
    await live.submit(b"models: {b: }")
    assert await live.submit(GOOD) == [("", "cannot be read: ZeroDivisionError: of ours")]
    assert live.digest == digest_of(b"models: {b: }")
    assert live.total_refused == 1
    assert caplog.text.count("Traceback") == 1
    await live.submit(b"models: {c: }")
    assert (live.reasons, live.digest) == ([], digest_of(b"models: {c: }"))


async def test_the_start_waits_until_what_has_come_is_understood() -> None:
    go_on = threading.Event()
    live = ConfigState("the test", lambda _: None, lambda _: go_on.wait(60))
    offered = asyncio.create_task(live.submit(GOOD))
    settled = asyncio.create_task(live.wait_for_outcome())
    await asyncio.sleep(0.05)
    assert not settled.done()
    go_on.set()
    await soon(settled)
    assert live.config is not None
    await offered
