"""The gateway follows config.yml: it applies good content, and shows bad content without ever using it."""

import json
import logging
import os
import socket
from pathlib import Path

import pytest
from tests.config.pem_files import write_ca

from ai_gateway.config.config_file import FAILURE_SECONDS, ConfigFile
from ai_gateway.config.state import ConfigState
from ai_gateway.config.types import Config
from ai_gateway.config.watched_file import WatchedFile


class Watched:
    """A file and what was applied of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.applied: list[Config] = []
        self.live = ConfigState(str(path), self.applied.append)
        self.file = ConfigFile(path, self.live)

    async def write(self, text: str) -> None:
        """Replaces the file, as a careful editor does, and checks it."""
        new = self.path.with_suffix(".new")
        new.write_text(text)
        os.utime(new, ns=(1, 1))
        new.replace(self.path)
        await self.file.check()

    @property
    def models(self) -> list[str]:
        """Of the config in force."""
        return [] if self.live.config is None else list(self.live.config.models)


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path / "config.yml")


def reasons(watched: Watched) -> list[str]:
    return [str(reason) for reason in watched.live.reasons]


async def test_a_good_file_is_applied(watched: Watched) -> None:
    """With a digest of its content and the time it was loaded."""
    await watched.write("models: {a: }")
    assert watched.models == ["a"]
    assert watched.applied == [watched.live.config]
    assert len(watched.live.digest or "") == 16
    assert watched.live.loaded_at is not None


async def test_a_change_is_applied_once(watched: Watched) -> None:
    """Another check of the same file changes nothing."""
    await watched.write("models: {a: }")
    await watched.file.check()
    await watched.write("models: {b: }")
    await watched.file.check()
    assert [list(config.models) for config in watched.applied] == [["a"], ["b"]]


async def test_a_file_that_is_only_touched_is_not_applied_again(watched: Watched) -> None:
    """Content is compared, not times."""
    await watched.write("models: {a: }")
    os.utime(watched.path, ns=(1, 1))
    await watched.file.check()
    assert len(watched.applied) == 1


async def test_bad_content_keeps_the_last_good_one(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    """Health shows it, and the log has it once, not with every check."""
    await watched.write("models: {a: }")
    for _ in range(3):
        await watched.write("models: {a: {x: 1}}")
    assert watched.models == ["a"]
    assert reasons(watched) == ["models.a: unknown key `x`"]
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert errors == ["config refused, the last good one stays in force: models.a: unknown key `x`"]


async def test_bad_content_at_the_start_serves_nothing(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    """The log says so."""
    await watched.write("models: [")
    assert watched.live.config is None
    assert watched.applied == []
    assert "the gateway serves no models until you fix it" in caplog.text


async def test_fixed_content_is_applied_and_clears_the_reason(watched: Watched) -> None:
    """Also if it is the content that was in force all the time."""
    await watched.write("models: {a: }")
    await watched.write("models: [")
    assert reasons(watched)
    await watched.write("models: {a: }")
    assert reasons(watched) == []
    assert watched.models == ["a"]


async def test_a_deleted_file_keeps_the_last_good_one(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    """The log has it once."""
    await watched.write("models: {a: }")
    watched.path.unlink()
    await watched.file.check()
    await watched.file.check()
    assert watched.models == ["a"]
    assert len(reasons(watched)) == 1
    assert "cannot read" in reasons(watched)[0]
    assert caplog.text.count("cannot read") == 1


async def test_a_file_that_comes_back_unchanged_clears_the_reason(watched: Watched) -> None:
    """Health must not report for ever a file that was missing for a moment."""
    await watched.write("models: {a: }")
    watched.path.unlink()
    await watched.file.check()
    await watched.write("models: {a: }")
    assert reasons(watched) == []
    assert watched.models == ["a"]


async def test_a_file_that_appears_later_is_found(watched: Watched) -> None:
    """A gateway may start before its config is there."""
    await watched.file.check()
    assert watched.live.config is None
    assert reasons(watched)
    await watched.write("models: {a: }")
    assert watched.models == ["a"]


async def test_a_config_map_mount_is_followed(tmp_path: Path) -> None:
    """The kubelet swaps the link `..data`; the file's own link and times never change."""
    for name, model in (("..1", "a"), ("..2", "b")):
        (tmp_path / name).mkdir()
        content = tmp_path / name / "config.yml"
        content.write_text(f"models: {{{model}: }}")
        os.utime(content, ns=(1, 1))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "config.yml").symlink_to("..data/config.yml")
    watched = Watched(tmp_path / "config.yml")
    await watched.file.check()
    assert watched.models == ["a"]
    (tmp_path / "..data_tmp").symlink_to("..2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    await watched.file.check()
    assert watched.models == ["b"]


async def test_a_change_that_needs_a_restart_is_accepted_and_named(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    """Until it is changed back."""
    await watched.write("listen: ':1'")
    assert watched.live.restart_required == []
    await watched.write("listen: ':2'\nmodels: {a: }")
    assert watched.live.restart_required == ["listen"]
    assert watched.models == ["a"]
    assert "listen has changed; restart the gateway to apply it" in caplog.text
    await watched.write("listen: ':1'")
    assert watched.live.restart_required == []


async def test_an_unexpected_failure_is_logged_once_and_stops_nothing(
    watched: Watched, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Formerly health said ok, and the log had a traceback twice a second."""
    await watched.write("models: {a: }")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "is_dir", lambda _: 1 / 0)
        for _ in range(3):
            await watched.file.check()
    assert reasons(watched) == ["cannot be read: ZeroDivisionError: division by zero"]
    assert caplog.text.count("Traceback") == 1
    await watched.file.check()
    assert (reasons(watched), watched.models) == ([], ["a"])


@pytest.mark.parametrize(
    "name", ["x" * 300, "file/config.yml", "a\0b", "\ud800", "loop", "fifo", "socket", "/dev/zero"]
)
async def test_a_path_without_a_file_gives_a_reason(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logged once, and checked again."""
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(tmp_path)
        listening.bind("socket")
    watched = Watched(tmp_path / name)
    for _ in range(3):
        await watched.file.check()
    assert "cannot read" in reasons(watched)[0]
    assert json.dumps(reasons(watched)).encode()
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1


async def test_a_file_that_keeps_changing_is_reported(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """The config in force stays, and health says why."""
    await watched.write("models: {a: }")
    monkeypatch.setattr(WatchedFile, "changing_seconds", FAILURE_SECONDS)
    await watched.file.check()
    assert "keeps changing" in str(watched.live.unseen_reason)
    monkeypatch.undo()
    await watched.file.check()
    assert watched.live.unseen_reason is None


@pytest.fixture(autouse=True)
def _hears_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="ai_gateway")


async def test_a_check_sees_that_a_named_file_has_appeared(watched: Watched, tmp_path: Path) -> None:
    """The config file did not change: formerly it was not checked again."""
    ca = tmp_path / "ca.pem"
    await watched.write(f"limits: {{redis: {{url: 'rediss://h', ca_file: {ca}}}}}")
    for _ in range(2):
        await watched.file.check()
    assert reasons(watched) == [f"limits.redis.ca_file: there is no file {ca}"]
    write_ca(tmp_path)
    await watched.file.check()
    assert (reasons(watched), len(watched.applied)) == ([], 1)


GONE = "cannot read "
EMPTY = "is empty: set at least one key, such as `models`"


async def test_the_reason_follows_the_state_of_a_mounted_key(tmp_path: Path) -> None:
    """Renamed, emptied, blank, commented out, gone with the folder, in whatever order: the reason describes what is
    there now, the last good config stays, and the right content ends it."""
    states: list[tuple[dict[str, str], str]] = [
        ({"config.yml": ""}, EMPTY),
        ({"other.yml": "models: {a: }"}, GONE),
        ({"config.yml": " \n\n"}, EMPTY),
        ({}, GONE),
        ({"config.yml": "# models: {a: }"}, EMPTY),
        ({"config.yml": "models: ["}, "not valid YAML"),
    ]
    watched = Watched(tmp_path)

    async def mount(number: int, files: dict[str, str]) -> None:
        """As the kubelet does: a new folder, and the link to it exchanged."""
        (tmp_path / f"..{number}").mkdir()
        for name, text in files.items():
            (tmp_path / f"..{number}" / name).write_text(text)
            os.utime(tmp_path / f"..{number}" / name, ns=(1, 1))
        (tmp_path / "..data_tmp").symlink_to(f"..{number}")
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")
        link = tmp_path / "config.yml"
        link.unlink(missing_ok=True)
        if "config.yml" in files:
            link.symlink_to("..data/config.yml")
        await watched.file.check()

    good = {"config.yml": "models: {a: }"}
    await mount(0, good)
    number = 0
    for first, first_words in states:
        for second, second_words in states:
            for files, words in ((first, first_words), (second, second_words), (good, "")):
                number += 1
                await mount(number, files)
                assert len(reasons(watched)) == bool(words)
                assert words in "".join(reasons(watched))
                assert watched.models == ["a"]
