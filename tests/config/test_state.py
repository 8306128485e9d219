"""The config in force, from any source: bad content is logged once, and late content may need a restart."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.config.pem_files import write_pair
from tests.flow.waiting import soon

from ai_gateway.config.state import ConfigState, Startup, digest_of
from ai_gateway.config.types import Config

GOOD, BAD = b"models: {a: }", b"models: {a: {x: 1}}"


class Kept:
    """A config state, what it applied, and how often it asked for a restart. Flags override `flag_keys`."""

    def __init__(self, *flag_keys: str) -> None:
        self.applied: list[Config] = []
        self.restarts = 0
        startup = Startup(flag_keys=flag_keys, restart=self._restart)
        self.live = ConfigState("the test", self.applied.append, startup=startup)

    @classmethod
    async def of(cls, *offered: bytes) -> "Kept":
        """With these contents, one after the other."""
        kept = cls()
        for content in offered:
            await kept.live.submit(content)
        return kept

    def _restart(self) -> None:
        self.restarts += 1


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]


async def test_the_same_mistake_made_again_is_in_the_log_once(caplog: pytest.LogCaptureFixture) -> None:
    """Also with a good config in between; another mistake is logged. Each is counted."""
    kept = await Kept.of(GOOD, BAD, GOOD, BAD)
    assert len(errors(caplog)) == 1
    await kept.live.submit(b"models: [")
    assert len(errors(caplog)) == 2
    assert kept.live.total_refused == 3


async def test_the_same_content_is_evaluated_once() -> None:
    """Both good and bad content."""
    kept = await Kept.of(GOOD, GOOD, BAD, BAD)
    assert (len(kept.applied), kept.live.total_refused) == (1, 1)
    assert kept.live.digest == digest_of(GOOD)


async def test_a_missing_config_is_in_the_log_once(caplog: pytest.LogCaptureFixture) -> None:
    """The config in force stays; the same content is applied again."""
    kept = await Kept.of(GOOD)
    for _ in range(3):
        kept.live.config_missing("it is gone")
    assert errors(caplog) == ["config refused, the last good one stays in force: it is gone"]
    await kept.live.submit(GOOD)
    assert (kept.live.reasons, len(kept.applied)) == ([], 2)


def test_startup_waits_only_for_a_passing_failure() -> None:
    """An unavailable API server may soon be back; a missing ConfigMap is an answer."""
    live = Kept().live
    settled = []
    for is_passing in (True, False, True):
        live.config_missing(f"passing: {is_passing}", is_passing)
        settled.append(live.has_outcome)
    assert settled == [False, True, True]


@pytest.mark.parametrize("content", [GOOD, BAD])
async def test_any_content_ends_the_wait_of_startup(content: bytes) -> None:
    assert (await Kept.of(content)).live.has_outcome


@pytest.mark.parametrize("changed", ["listen: ':1'", "admin: ':1'", "drain: {delay: 1s}"])
async def test_a_first_config_after_startup_may_need_a_restart(changed: str) -> None:
    """Once, and not before the gateway has bound anything."""
    kept = Kept()
    kept.live.mark_started()
    await kept.live.submit(changed.encode())
    assert kept.restarts == 1
    await kept.live.submit(f"{changed}\nmodels: {{a: }}".encode())
    assert kept.restarts == 1


async def test_https_in_a_first_config_after_startup_needs_a_restart(tmp_path: Path) -> None:
    """It must not go on in plain HTTP."""
    certificate, key = write_pair(tmp_path)
    kept = Kept()
    kept.live.mark_started()
    await kept.live.submit(f"tls: {{certificate: {certificate}, key: {key}}}".encode())
    assert kept.restarts == 1


async def test_a_first_config_that_fits_what_was_bound_needs_no_restart() -> None:
    """Nor does one that changes only keys that flags override: formerly the gateway restarted again and again."""
    kept = Kept("listen")
    kept.live.mark_started()
    await kept.live.submit(b"listen: ':1'\nmodels: {a: }")
    assert (kept.restarts, kept.live.restart_required) == (0, [])


async def test_a_later_config_never_restarts_the_gateway() -> None:
    """Health names the keys; you restart the gateway."""
    kept = await Kept.of(GOOD)
    kept.live.mark_started()
    await kept.live.submit(b"listen: ':1'\nadmin: ':2'")
    assert (kept.restarts, kept.live.restart_required) == (0, ["listen", "admin"])


async def test_a_bad_first_config_causes_no_restart() -> None:
    kept = Kept()
    kept.live.mark_started()
    await kept.live.submit(b"listen: nonsense")
    assert (kept.restarts, kept.applied) == (0, [])


async def test_contents_are_applied_in_the_order_of_their_submission() -> None:
    """The next content waits for a slow one; the last content is in force at the end."""
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
    """Other tasks run between the steps; the config is in force after the last one."""
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
async def test_a_config_that_cannot_be_put_in_force_gives_a_reason(
    place: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever goes wrong. Formerly health said ok with the new digest, and the log had a traceback."""

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


async def test_startup_waits_for_the_evaluation_of_content_that_has_come() -> None:
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
