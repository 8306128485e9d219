"""The fallback file of a ConfigMap counts only while the ConfigMap gives no content."""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from tests.cluster.fake_api import FakeApi, reach, serving
from tests.flow.waiting import PATIENCE_SECONDS, until

from ai_gateway.cluster.config_map import ConfigMap, ConfigMapRef
from ai_gateway.cluster.reflector import WatchSettings
from ai_gateway.config.config_file import ConfigFile
from ai_gateway.config.fallback_file import FallbackFile
from ai_gateway.config.state import ConfigState
from ai_gateway.config.types import Config

META = {"metadata": {"uid": "u1"}}
FAST = 100.0  # so many seconds of the follower's clock pass in one of ours


class Clock:
    """Monotonic seconds, fast; a test may stop it, since on a busy machine much of them passes between two lines."""

    def __init__(self) -> None:
        self._stopped_at: float | None = None
        self._late = 0.0

    def __call__(self) -> float:
        return (time.monotonic() * FAST if self._stopped_at is None else self._stopped_at) - self._late

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """No time passes within the block."""
        self._stopped_at = time.monotonic() * FAST
        yield
        self._late += time.monotonic() * FAST - self._stopped_at
        self._stopped_at = None


def content(model: str) -> str:
    """A config with one model."""
    return f"models: {{{model}: }}"


class Followed:
    """A ConfigMap, its fallback file, and the config state of both."""

    def __init__(self, api: FakeApi, folder: Path) -> None:
        self._api = api
        self.clock = Clock()
        self._path = folder / "mounted.yml"
        self.applied: list[Config] = []
        self.live = ConfigState("both", self.applied.append)
        stand_in = FallbackFile(self.live, self.clock, has_file=True)
        self.file = ConfigFile(self._path, stand_in)
        settings = WatchSettings(watch_seconds=300.0, read_seconds=15.0, clock=self.clock)
        self.config_map = ConfigMap(ConfigMapRef("models"), reach(api, folder), self.live, settings, stand_in)

    async def write(self, text: str) -> None:
        """Replaces the file, as the kubelet does, and checks it."""
        new = self._path.with_suffix(".new")
        new.write_text(text)
        os.utime(new, ns=(1, 1))
        new.replace(self._path)
        await self.file.check()

    async def remove(self) -> None:
        """Removes the file, and checks."""
        self._path.unlink()
        await self.file.check()

    def put(self, model: str) -> None:
        """Writes the ConfigMap."""
        self._api.put("ai", "models", META | {"data": {"config.yml": content(model)}})

    def forbid(self) -> None:
        """The rights are taken away, and the watch that runs ends."""
        self._api.forbidden.add("ai")
        with self._api.change:
            self._api.change.notify_all()

    @property
    def model(self) -> str | None:
        """The one in force."""
        return None if self.live.config is None else next(iter(self.live.config.models))

    async def serves(self, model: str) -> None:
        """Returns once it is in force; checks the file again and again meanwhile."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.model != model:
            assert time.monotonic() < deadline, (self.model, self.live.reasons, self.live.unseen_reason)
            await self.file.check()
            await asyncio.sleep(0.01)

    async def is_away(self) -> None:
        """Returns once the API server has not been heard for long."""
        heard = self.clock()
        await until(lambda: self.live.unseen_reason and self.clock() - heard > 30)

    @property
    def words(self) -> str:
        """All reasons that health shows for the config."""
        return " | ".join((*map(str, self.live.reasons), self.live.unseen_reason or ""))


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with serving() as server:
        yield server


@asynccontextmanager
async def following(api: FakeApi, folder: Path) -> AsyncGenerator[Followed]:
    """Left, it follows no more."""
    followed = Followed(api, folder)
    task = asyncio.create_task(followed.config_map.follow())
    try:
        yield followed
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def followed(api: FakeApi, tmp_path: Path) -> AsyncIterator[Followed]:
    async with following(api, tmp_path) as found:
        yield found


async def test_edits_of_the_file_are_taken_while_the_api_refuses(api: FakeApi, followed: Followed) -> None:
    """Formerly it was read once, and an edit of the mounted ConfigMap was never seen."""
    followed.forbid()
    await followed.write(content("a"))
    await followed.serves("a")
    await followed.write(content("b"))
    assert followed.model == "b"
    await until(lambda: followed.live.unseen_reason)
    assert "ConfigMap ai/models cannot be read: " in followed.words
    assert "grant list and watch" in followed.words
    assert "the mounted file is used instead" in followed.words
    assert followed.live.reasons == []


async def test_a_bad_edit_of_the_file_gives_a_reason_and_its_fix_clears_it(api: FakeApi, followed: Followed) -> None:
    followed.forbid()
    await followed.write(content("a"))
    await followed.serves("a")
    await followed.write("models: [")
    assert [reason.path for reason in followed.live.reasons] == [""]
    assert followed.model == "a"
    await followed.write(content("a"))
    assert followed.live.reasons == []


async def test_a_right_that_is_granted_later_ends_the_use_of_the_file(api: FakeApi, followed: Followed) -> None:
    """What the ConfigMap says is in force, and no edit of the file any more."""
    followed.put("mapped")
    followed.forbid()
    await followed.write(content("a"))
    await followed.serves("a")
    api.forbidden.clear()
    await followed.serves("mapped")
    await until(lambda: not followed.words.strip(" |"))
    await followed.write(content("b"))
    assert followed.model == "mapped"


async def test_after_a_right_is_revoked_later_edits_of_the_file_count(api: FakeApi, followed: Followed) -> None:
    """What the file held before is no newer than the ConfigMap; the ConfigMap counts again once it can be read."""
    await followed.write(content("old"))
    followed.put("mapped")
    await followed.serves("mapped")
    followed.forbid()
    await followed.is_away()
    await followed.file.check()
    assert followed.model == "mapped"
    assert "the gateway cannot see edits of the ConfigMap now: " in followed.words
    await followed.write(content("new"))
    await followed.serves("new")
    await until(lambda: "the mounted file is used instead" in followed.words)
    api.forbidden.clear()
    await followed.serves("mapped")
    await until(lambda: not followed.words.strip(" |"))


async def test_a_file_written_while_the_api_answered_does_not_count(api: FakeApi, followed: Followed) -> None:
    """An outage of the API server must not put another config in force."""
    followed.put("mapped")
    await followed.write(content("old"))
    await followed.serves("mapped")
    await followed.write(content("other"))
    followed.put("later")  # what is heard last is newer than the file
    await followed.serves("later")
    followed.forbid()
    await followed.is_away()
    await followed.file.check()
    assert followed.model == "later"


async def test_a_late_copy_does_not_undo_an_edit(api: FakeApi, followed: Followed) -> None:
    """The mount shows an earlier content just after the later one was heard of, and then the API goes away."""
    await followed.write(content("first"))
    with followed.clock.stopped():
        for model in ("first", "second", "third"):
            followed.put(model)
            await followed.serves(model)
        followed.forbid()
        await followed.write(content("second"))
    await followed.is_away()
    await followed.file.check()
    assert followed.model == "third"
    await followed.write(content("first"))  # long after: a deliberate step back
    await followed.serves("first")


async def test_a_late_first_check_is_no_change(api: FakeApi, followed: Followed) -> None:
    """A mount may hang at the start while the ConfigMap is read."""
    followed.put("mapped")
    await until(lambda: followed.model == "mapped")
    followed.forbid()
    await followed.is_away()
    await followed.write(content("old"))
    assert followed.model == "mapped"
    await followed.write(content("new"))
    await followed.serves("new")


async def test_the_file_is_followed_until_there_is_a_config_map(followed: Followed) -> None:
    """Also if the API answers; a new ConfigMap overrides the file."""
    await followed.write(content("a"))
    await followed.serves("a")
    await until(
        lambda: "there is no ConfigMap models in namespace ai; the mounted file is used instead" in followed.words
    )
    await followed.write(content("b"))
    assert followed.model == "b"
    followed.put("mapped")
    await followed.serves("mapped")
    await until(lambda: not followed.words.strip(" |"))


async def test_the_file_is_followed_until_the_config_map_has_the_key(api: FakeApi, followed: Followed) -> None:
    """An Event still reports the missing key."""
    api.put("ai", "models", META | {"data": {"config.yaml": content("a")}})
    await followed.write(content("a"))
    await followed.serves("a")
    await until(
        lambda: "has no key 'config.yml'; it has config.yaml; the mounted file is used instead" in followed.words
    )
    await until(lambda: api.sent)
    assert api.sent[0]["message"] == "ConfigMap ai/models has no key 'config.yml'; it has config.yaml"
    await followed.write(content("b"))
    assert followed.model == "b"


async def test_a_deleted_config_map_keeps_its_config_until_the_file_is_changed(
    api: FakeApi, followed: Followed
) -> None:
    """Created again with the same content, it counts again."""
    await followed.write(content("old"))
    followed.put("mapped")
    await followed.serves("mapped")
    api.delete("ai", "models")
    await until(lambda: "there is no ConfigMap models" in followed.words)
    await followed.file.check()
    assert followed.model == "mapped"
    await followed.write(content("new"))
    assert followed.model == "new"
    await until(lambda: "the mounted file is used instead" in followed.words)
    followed.put("mapped")
    await followed.serves("mapped")
    await until(lambda: not followed.words.strip(" |"))


async def test_without_file_and_config_map_the_reason_names_both(api: FakeApi, followed: Followed) -> None:
    """Startup waits for the API server, as without a file."""
    followed.forbid()
    await followed.file.check()
    await until(lambda: followed.live.reasons)
    assert "ConfigMap ai/models cannot be read: " in followed.words
    assert "the mounted file cannot be used either: cannot read " in followed.words
    assert not followed.live.has_outcome
    await followed.write(content("a"))
    await followed.serves("a")
    assert followed.live.reasons == []
    await followed.remove()
    await until(lambda: "the mounted file cannot be used either" in followed.words)
    assert followed.model == "a"


async def test_startup_waits_for_the_first_check_of_the_file(followed: Followed) -> None:
    """There is no ConfigMap, but the file may still give content."""
    await until(lambda: followed.live.reasons)
    settled_before = followed.live.has_outcome
    await followed.write(content("a"))
    assert (settled_before, followed.live.has_outcome, followed.model) == (False, True, "a")


async def test_an_unexpected_failure_in_a_check_ends_with_the_next_check(
    followed: Followed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has its traceback once; the config from the ConfigMap stays."""
    followed.put("mapped")
    await followed.write(content("a"))
    await followed.serves("mapped")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "is_dir", lambda _: 1 / 0)
        for _ in range(3):
            await followed.file.check()
    assert caplog.text.count("Traceback") == 1
    assert (followed.live.reasons, followed.model) == ([], "mapped")


async def test_reread_reads_the_config_map_again_too(followed: Followed, tmp_path: Path) -> None:
    """SIGHUP. Formerly the content was forgotten, and its named files were never read again."""
    await followed.write(content("a"))
    followed.put("mapped")
    await followed.serves("mapped")
    before = len(followed.applied)
    followed.file.reread()
    followed.config_map.reread()
    await until(lambda: len(followed.applied) == before + 1)
    assert followed.model == "mapped"
