"""A file that stands in for a ConfigMap: it is followed while the ConfigMap gives nothing, and at no other time."""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from tests.cluster.fake_api import FakeApi, reach, serving
from tests.flow.waiting import PATIENCE_SECONDS, until

from ai_gateway.cluster.config_map import ConfigMap, Named
from ai_gateway.cluster.mirror import Manner
from ai_gateway.config.live import Live
from ai_gateway.config.standing_in import StandIn
from ai_gateway.config.types import Config
from ai_gateway.config.watching import ConfigFile

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
    """A ConfigMap, the file beside it, and the config that both give."""

    def __init__(self, api: FakeApi, folder: Path) -> None:
        self._api = api
        self.clock = Clock()
        self._path = folder / "mounted.yml"
        self.applied: list[Config] = []
        self.live = Live("both", self.applied.append)
        stand_in = StandIn(self.live, self.clock, has_file=True)
        self.file = ConfigFile(self._path, stand_in)
        manner = Manner(watch_seconds=300.0, read_seconds=15.0, clock=self.clock)
        self.config_map = ConfigMap(Named("models"), reach(api, folder), self.live, manner, stand_in)

    async def write(self, text: str) -> None:
        """Exchanges the file, as the kubelet does, and looks at it."""
        new = self._path.with_suffix(".new")
        new.write_text(text)
        os.utime(new, ns=(1, 1))
        new.replace(self._path)
        await self.file.look()

    async def remove(self) -> None:
        """Takes the file away, and looks."""
        self._path.unlink()
        await self.file.look()

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
        """Returns once it is in force; meanwhile the file is looked at again and again."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.model != model:
            assert time.monotonic() < deadline, (self.model, self.live.complaints, self.live.trouble)
            await self.file.look()
            await asyncio.sleep(0.01)

    async def is_away(self) -> None:
        """Returns once the API server has not been heard for long."""
        heard = self.clock()
        await until(lambda: self.live.trouble and self.clock() - heard > 30)

    @property
    def words(self) -> str:
        """All that is told of the config."""
        return " | ".join((*map(str, self.live.complaints), self.live.trouble or ""))


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
    await until(lambda: followed.live.trouble)
    assert "ConfigMap ai/models cannot be read: " in followed.words
    assert "grant list and watch" in followed.words
    assert "the file stands in" in followed.words
    assert followed.live.complaints == []


async def test_a_bad_edit_of_the_file_is_told_and_its_mending_too(api: FakeApi, followed: Followed) -> None:
    followed.forbid()
    await followed.write(content("a"))
    await followed.serves("a")
    await followed.write("models: [")
    assert [complaint.path for complaint in followed.live.complaints] == [""]
    assert followed.model == "a"
    await followed.write(content("a"))
    assert followed.live.complaints == []


async def test_a_right_that_is_granted_later_ends_the_files_turn(api: FakeApi, followed: Followed) -> None:
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


async def test_a_right_that_is_revoked_lets_later_edits_of_the_file_in(api: FakeApi, followed: Followed) -> None:
    """What the file held before is no newer than the ConfigMap; the ConfigMap counts again once it can be read."""
    await followed.write(content("old"))
    followed.put("mapped")
    await followed.serves("mapped")
    followed.forbid()
    await followed.is_away()
    await followed.file.look()
    assert followed.model == "mapped"
    assert "edits are not seen now: " in followed.words
    await followed.write(content("new"))
    await followed.serves("new")
    await until(lambda: "the file stands in" in followed.words)
    api.forbidden.clear()
    await followed.serves("mapped")
    await until(lambda: not followed.words.strip(" |"))


async def test_a_file_that_was_written_while_the_api_answered_stays_out(api: FakeApi, followed: Followed) -> None:
    """An outage of the API server must not put another config in force."""
    followed.put("mapped")
    await followed.write(content("old"))
    await followed.serves("mapped")
    await followed.write(content("other"))
    followed.put("later")  # what is heard last is newer than the file
    await followed.serves("later")
    followed.forbid()
    await followed.is_away()
    await followed.file.look()
    assert followed.model == "later"


async def test_a_copy_that_comes_late_does_not_undo_an_edit(api: FakeApi, followed: Followed) -> None:
    """The mount shows an earlier content just after the later one was heard of, and then the API goes away."""
    await followed.write(content("first"))
    with followed.clock.stopped():
        for model in ("first", "second", "third"):
            followed.put(model)
            await followed.serves(model)
        followed.forbid()
        await followed.write(content("second"))
    await followed.is_away()
    await followed.file.look()
    assert followed.model == "third"
    await followed.write(content("first"))  # long after: somebody went back to it
    await followed.serves("first")


async def test_what_the_first_look_finds_late_is_no_change(api: FakeApi, followed: Followed) -> None:
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
    """Also where the API answers; the ConfigMap that is made goes before it."""
    await followed.write(content("a"))
    await followed.serves("a")
    await until(lambda: "there is no ConfigMap models in namespace ai; the file stands in" in followed.words)
    await followed.write(content("b"))
    assert followed.model == "b"
    followed.put("mapped")
    await followed.serves("mapped")
    await until(lambda: not followed.words.strip(" |"))


async def test_the_file_is_followed_until_the_config_map_has_the_key(api: FakeApi, followed: Followed) -> None:
    """An Event tells of the key that is missing all the same."""
    api.put("ai", "models", META | {"data": {"config.yaml": content("a")}})
    await followed.write(content("a"))
    await followed.serves("a")
    await until(lambda: "has no key 'config.yml', but config.yaml; the file stands in" in followed.words)
    await until(lambda: api.sent)
    assert api.sent[0]["message"] == "ConfigMap ai/models has no key 'config.yml', but config.yaml"
    await followed.write(content("b"))
    assert followed.model == "b"


async def test_a_deleted_config_map_keeps_its_config_until_the_file_is_changed(
    api: FakeApi, followed: Followed
) -> None:
    """Made anew as it was, it counts again."""
    await followed.write(content("old"))
    followed.put("mapped")
    await followed.serves("mapped")
    api.delete("ai", "models")
    await until(lambda: "there is no ConfigMap models" in followed.words)
    await followed.file.look()
    assert followed.model == "mapped"
    await followed.write(content("new"))
    assert followed.model == "new"
    await until(lambda: "the file stands in" in followed.words)
    followed.put("mapped")
    await followed.serves("mapped")
    await until(lambda: not followed.words.strip(" |"))


async def test_without_the_file_and_the_config_map_both_are_told(api: FakeApi, followed: Followed) -> None:
    """And the start waits for the API server, as it does without a file."""
    followed.forbid()
    await followed.file.look()
    await until(lambda: followed.live.complaints)
    assert "ConfigMap ai/models cannot be read: " in followed.words
    assert "nor is there a file: cannot read " in followed.words
    assert not followed.live.is_settled
    await followed.write(content("a"))
    await followed.serves("a")
    assert followed.live.complaints == []
    await followed.remove()
    await until(lambda: "nor is there a file" in followed.words)
    assert followed.model == "a"


async def test_the_start_waits_for_a_file_that_is_still_to_be_looked_at(followed: Followed) -> None:
    """There is no ConfigMap: that is not yet the whole story."""
    await until(lambda: followed.live.complaints)
    settled_before = followed.live.is_settled
    await followed.write(content("a"))
    assert (settled_before, followed.live.is_settled, followed.model) == (False, True, "a")


async def test_a_fault_of_the_gateways_own_in_a_look_ends_with_the_next(
    followed: Followed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Told once, with its trace; what the ConfigMap gives is not touched by it."""
    followed.put("mapped")
    await followed.write(content("a"))
    await followed.serves("mapped")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "is_dir", lambda _: 1 / 0)
        for _ in range(3):
            await followed.file.look()
    assert caplog.text.count("Traceback") == 1
    assert (followed.live.complaints, followed.model) == ([], "mapped")


async def test_a_wish_to_read_again_takes_up_the_config_map_too(followed: Followed, tmp_path: Path) -> None:
    """SIGHUP: formerly the content was forgotten, and what it names was never looked at again."""
    await followed.write(content("a"))
    followed.put("mapped")
    await followed.serves("mapped")
    before = len(followed.applied)
    followed.file.reread()
    followed.config_map.reread()
    await until(lambda: len(followed.applied) == before + 1)
    assert followed.model == "mapped"
