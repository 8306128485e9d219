"""`ai-gateway models wait` ends when the model is in place, has failed, or the time is over: no moment before."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.scripted_gateway import READY, Answer, Scripted, error, scripted
from tests.cli.test_command import said

from ai_gateway.cli import models
from ai_gateway.cli.model_wait import LONG_ROUNDS, ROUNDS
from ai_gateway.config.state import digest_of

CONTENT = b"models: {coder: }\n"
HASH = digest_of(CONTENT)
MODEL, HEALTH = "/v1/models/coder", "/v1/health"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asks again at once."""
    monkeypatch.setattr(models, "_PAUSE_SECONDS", 0.001)


@pytest.fixture
def server() -> Iterator[Scripted]:
    """What answers."""
    with scripted() as started:
        yield started


@pytest.fixture
def config(tmp_path: Path) -> str:
    """The file that is waited for."""
    path = tmp_path / "config.yml"
    path.write_bytes(CONTENT)
    return str(path)


Waited = tuple[int, str, list[str]]


def wait(server: Scripted, capsys: pytest.CaptureFixture[str], *words: str, timeout: str = "60s") -> Waited:
    """Exit status, standard output, and the lines of standard error."""
    url = ("--url", server.url, "--timeout", timeout)
    status, out, err = said(capsys, "models", "wait", "coder", *url, *words)
    return status, out, err.splitlines()


def shown(**more: Any) -> Answer:
    """What the gateway tells of the model."""
    return 200, {**READY, "in_place": False, "config": HASH, **more}


def health(*others: tuple[str, str | None], own: str | None = HASH, **config: Any) -> Answer:
    """What the gateway tells of itself and the others: states and hashes."""
    found = [{"uid": str(number), "state": state, "config": one} for number, (state, one) in enumerate(others)]
    return 200, {
        "config": {"hash": own, "complaints": [], "refused_hash": None, **config},
        "gateways": {"others": found},
    }


def then(*answers: Answer) -> Callable[[], Answer]:
    """One after the other; the last one stays."""
    left = list(answers)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def test_it_ends_with_0_when_the_model_is_in_place(server: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    pulling = {"state": "pulling", "done": 0, "total": 3}
    server[MODEL] = then(
        shown(**pulling, progress=0.11), shown(**pulling, progress=0.14), shown(**pulling, progress=0.97), (200, READY)
    )
    status, out, err = wait(server, capsys)
    assert (status, out) == (0, "coder: is in place\n")
    started = "coder: is not in place yet (pulling), 0 of 3 endpoints are done"
    assert err == [f"{started}, 10 % are pulled", f"{started}, 90 % are pulled"]


def test_the_flags_may_stand_before_the_word_too(server: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    server[MODEL] = 200, READY
    assert said(capsys, "models", "--url", server.url, "wait", "coder")[0] == 0
    server[MODEL] = 404, error("no")
    assert said(capsys, "models", "--url", "http://127.0.0.1:9", "wait", "coder", "--url", server.url)[0] == 1


@pytest.mark.parametrize("state", ["ready", "loading", "updating", "missing", "unavailable", None])
def test_no_state_is_taken_for_being_in_place(
    server: Scripted, capsys: pytest.CaptureFixture[str], state: str | None
) -> None:
    """The old version may be ready, too."""
    server[MODEL] = shown(state=state)
    status, out, err = wait(server, capsys, timeout="50ms")
    assert (status, out) == (2, "")
    assert err[-1].startswith("ai-gateway models wait: not within 50ms: coder: is not in place yet")


def test_a_failure_that_stays_ends_it_with_1(server: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    server[MODEL] = shown(state="failed", reason="no space left on device")
    status, out, err = wait(server, capsys)
    assert (status, out) == (1, "")
    assert err[-1] == "coder: has failed: no space left on device"
    assert len(server.asked) == ROUNDS


def test_a_failure_of_the_config_before_does_not_end_it(
    server: Scripted, capsys: pytest.CaptureFixture[str], config: str
) -> None:
    """Neither while the gateway follows that, nor in the moment in which another one still tells of it."""
    failed = shown(state="failed", reason="file does not exist")
    server[HEALTH] = then(*[health(own="before")] * (2 * ROUNDS), health())
    server[MODEL] = then(*[failed] * (ROUNDS - 1), shown(state="pulling"), shown(in_place=True))
    assert wait(server, capsys, "--config", config)[0] == 0


def test_another_gateway_that_answers_and_does_not_follow_is_not_believed(
    server: Scripted, capsys: pytest.CaptureFixture[str], config: str
) -> None:
    """A Service sends each question to another one."""
    server[HEALTH] = health()
    before = shown(config="before", in_place=True), shown(config="before", state="failed", reason="x")
    server[MODEL] = then(*before * ROUNDS, shown(in_place=True))
    assert wait(server, capsys, "--config", config)[0] == 0
    assert len(server.asked) == 2 * (2 * ROUNDS + 1)


@pytest.mark.parametrize(
    ("others", "status"),
    [
        ([("fresh", HASH), ("fresh", HASH)], 0),
        ([("fresh", HASH), ("fresh", "before")], 2),
        ([("fresh", HASH), ("silent", HASH)], 2),  # it may have another config by now
        ([("terminating", "before"), ("unready", None)], 0),
    ],
)
def test_every_ready_gateway_must_follow_the_file(
    server: Scripted,
    capsys: pytest.CaptureFixture[str],
    config: str,
    others: list[tuple[str, str | None]],
    status: int,
) -> None:
    server[HEALTH], server[MODEL] = health(*others), shown(in_place=True)
    ended, _, err = wait(server, capsys, "--config", config, timeout="100ms")
    assert ended == status
    assert status == 0 or err[0] == "coder: 2 of 3 gateways follow the file"


def test_a_config_in_a_folder_is_its_file(server: Scripted, capsys: pytest.CaptureFixture[str], config: str) -> None:
    server[HEALTH], server[MODEL] = health(), shown(in_place=True)
    assert wait(server, capsys, "--config", str(Path(config).parent))[0] == 0


def test_the_file_itself_refused_is_a_failure_and_another_one_refused_is_none(
    server: Scripted, capsys: pytest.CaptureFixture[str], config: str
) -> None:
    complaints = [{"path": "models.coder.slots", "message": "is wrong"}]
    server[MODEL] = shown(in_place=True)
    server[HEALTH] = health(own="before", complaints=complaints, refused_hash=HASH)
    status, _, err = wait(server, capsys, "--config", config)
    assert (status, err[-1]) == (1, "coder: the config is refused: models.coder.slots: is wrong")
    earlier = health(own="before", complaints=complaints, refused_hash="other")
    server[HEALTH] = then(*[earlier] * (2 * ROUNDS), health())
    assert wait(server, capsys, "--config", config)[0] == 0
    server[HEALTH] = health(complaints=complaints, refused_hash="other")
    assert wait(server, capsys, "--config", config)[0] == 0


def test_without_the_rights_of_an_admin_it_says_so(
    server: Scripted, capsys: pytest.CaptureFixture[str], config: str
) -> None:
    server[HEALTH] = 200, {"gateway": "ok"}
    status, _, err = wait(server, capsys, "--config", config)
    assert (status, len(err), "admin" in err[0], "--key-file" in err[0]) == (1, 1, True, True)


@pytest.mark.parametrize("body", [{"config": {"hash": HASH}}, {"config": {}, "gateways": {"others": [1]}}])
def test_a_health_that_cannot_be_read_is_asked_for_again(
    server: Scripted, capsys: pytest.CaptureFixture[str], config: str, body: dict[str, Any]
) -> None:
    server[MODEL] = shown(in_place=True)
    server[HEALTH] = then((200, body), (503, b""), health())
    assert wait(server, capsys, "--config", config)[0] == 0


@pytest.mark.parametrize("answer", [(503, b""), (500, b"x"), (200, b"[]"), (502, b"<html>"), (429, error("slow down"))])
def test_a_gateway_that_starts_anew_does_not_end_it(
    server: Scripted, capsys: pytest.CaptureFixture[str], answer: Answer
) -> None:
    server[MODEL] = then(*[answer] * (2 * ROUNDS), (200, READY))
    assert wait(server, capsys)[0] == 0


def test_a_gateway_that_is_away_does_not_end_it(capsys: pytest.CaptureFixture[str]) -> None:
    """But the time does."""
    status, _, err = said(capsys, "models", "wait", "coder", "--url", "http://127.0.0.1:9", "--timeout", "50ms")
    assert (status, "no gateway answers at http://127.0.0.1:9" in err) == (2, True)


def test_a_model_that_comes_with_the_next_reload_is_waited_for_a_moment(
    server: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    server[MODEL] = then(*[(404, error("not served here"))] * (ROUNDS - 1), (200, READY))
    assert wait(server, capsys)[0] == 0
    server[MODEL] = 404, error("not served here")
    status, _, err = wait(server, capsys)
    assert (status, err) == (1, ["coder: not served here"] * 2)


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key_ends_it_at_once(server: Scripted, capsys: pytest.CaptureFixture[str], status: int) -> None:
    server[MODEL] = status, error("Your key is wrong.")
    assert wait(server, capsys) == (1, "", ["coder: Your key is wrong."])
    assert len(server.asked) == 1


def test_where_no_gateway_may_write_it_ends_with_the_reason(
    server: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a while: what this one may not do, another may be about to."""
    server[MODEL] = then(*[shown(complaint="reconcile.mode is never")] * (LONG_ROUNDS - 1), (200, READY))
    assert wait(server, capsys)[0] == 0
    server[MODEL] = shown(complaint="reconcile.mode is never")
    status, _, err = wait(server, capsys)
    assert (status, err[-1]) == (1, "coder: the gateway does not bring it to the endpoints: reconcile.mode is never")


def test_an_older_gateway_is_told_from_one_that_is_not_done(
    server: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    server[MODEL] = 200, {"id": "coder", "state": "ready"}
    status, _, err = wait(server, capsys)
    assert (status, err) == (1, ["coder: the gateway is too old to tell whether a model is in place"])


def test_what_a_gateway_tells_cannot_forge_a_line(server: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    server[MODEL] = shown(state="failed", reason="a\ncoder: is in place\x1b[2J")
    assert wait(server, capsys)[2][-1] == "coder: has failed: a\\x0acoder: is in place\\x1b[2J"


@pytest.mark.parametrize("words", [["--timeout", "soon"], ["--timeout", "-1s"], ["--config", "nowhere.yml"]])
def test_a_flag_that_cannot_be_is_one_line_and_not_that_the_time_is_over(
    server: Scripted, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    flag, value = words
    status, out, err = said(capsys, "models", "wait", "coder", "--url", server.url, f"{flag}={value}")
    assert (status, out, len(err.splitlines())) == (1, "", 1)


def test_an_id_with_a_slash_is_asked_for_whole(server: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    server["/v1/models/team/code:best?"] = 200, READY
    assert said(capsys, "models", "wait", "team/code:best?", "--url", server.url)[0] == 0


def test_help_says_what_the_exit_status_means(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = said(capsys, "models", "wait", "--help")
    taught = ("exit status", "  0  ", "  1  ", "  2  ", "--config", "--timeout", "--url", "--key-file")
    assert (status, [word for word in taught if word not in out]) == (0, [])
