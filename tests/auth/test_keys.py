"""API keys: their file, and whose a key is."""

import asyncio
import os
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.flow.waiting import until

from ai_gateway.__main__ import main
from ai_gateway.auth.identity import Unavailable
from ai_gateway.auth.keys import Keys, KeysFile
from ai_gateway.auth.keys_file import KeyEntry, KeysError, hash_of, new_key, read_entries, write_entries
from ai_gateway.auth.state import AuthState
from ai_gateway.cluster.token_review import ReviewResult
from ai_gateway.config.access import Auth
from ai_gateway.config.limits import RateLimits
from ai_gateway.config.units import FilePath
from ai_gateway.config.watched_file import WatchedFile

NOW = 1_800_000_000.0


def _made(**more: object) -> tuple[str, KeyEntry]:
    key, key_id = new_key()
    return key, msgspec.convert({"id": key_id, "name": "team-a", "hash": hash_of(key.encode()), **more}, KeyEntry)


def _keys(*entries: KeyEntry, now: float = NOW) -> Keys:
    keys = Keys(lambda: now)
    keys.take(read_entries(write_entries(entries).encode()))
    return keys


def test_a_key_is_known_by_its_hash_alone() -> None:
    key, entry = _made(models=["llama3"], role="admin", tenant="a", groups=["g"])
    content = write_entries((entry,))
    assert key not in content
    assert key[14:] not in content
    found = _keys(entry).find(key.encode())
    assert found is not None
    assert (found.name, found.key_id, found.models, found.role) == ("team-a", entry.id, ("llama3",), "admin")
    assert (found.tenant, found.groups, found.method) == ("a", ("g",), "keys")


def test_two_keys_of_one_name_both_work_during_a_rotation() -> None:
    (old, first), (new, second) = _made(), _made()
    keys = _keys(first, second)
    found = [keys.find(key.encode()) for key in (old, new)]
    assert [one and one.name for one in found] == ["team-a", "team-a"]
    assert [one and one.key_id for one in found] == [first.id, second.id]


def test_an_expired_or_revoked_key_is_invalid() -> None:
    past, future = datetime.fromtimestamp(NOW - 1, UTC), datetime.fromtimestamp(NOW + 1, UTC)
    for more, works in (({"expires": past}, 0), ({"revoked": past}, 0), ({"expires": future}, 1)):
        key, entry = _made(**more)
        assert (_keys(entry).find(key.encode()) is not None) == bool(works), more


@given(data=st.data())
def test_only_the_exact_key_is_valid(data: st.DataObject) -> None:
    key, entry = KNOWN
    keys = _keys(entry)
    place = data.draw(st.integers(0, len(key) - 1))
    variant = data.draw(
        st.sampled_from(
            [
                *(key[:place] + key[place].swapcase() + key[place + 1 :], key[:place] + key[place + 1 :]),
                *(key + key[place], key[:place], key[:place] + "\uff41" + key[place + 1 :], key.upper(), key.lower()),
                *(" " + key, key + "\n", key[5:], entry.id, entry.hash, "aigw_" + entry.id + "_", key + key),
            ]
        )
    )
    if variant != key:
        assert keys.find(variant.encode()) is None


KNOWN = _made()


def test_an_empty_key_is_invalid() -> None:
    assert _keys(KNOWN[1]).find(b"") is None
    assert _keys().find(b"aigw_") is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("keys: [{id: short, name: a, hash: x}]", "keys[0]"),
        ("keys: {}", "keys"),
        ("- a", "expected a mapping"),
        ("keys: [", "not valid YAML"),
        ("other: []", "unknown field"),
        ("\xff", "expected a mapping"),
        ("keys: 2001-13-40", "not valid YAML"),
        ("keys: " + "1:00" * 100 + ".5", "not a keys file"),
        ("keys: 1" + ":00" * 200 + ".5", "not valid YAML"),
        ("", "is empty"),
        ("# keys: []", "is empty"),
        ("keys:", "expected a list"),
        ("keys: []\n---\n", "not valid YAML"),
        ("keys: []\nkeys: []", "duplicate key"),
        ('keys: [{id: aaaaaaaa, name: "\\ud800", hash: "x"}]', "not valid YAML"),
        ("a: &a [1]\nkeys: *a", "not valid YAML"),
    ],
)
def test_an_invalid_keys_file_is_refused(content: str, words: str) -> None:
    with pytest.raises(KeysError) as refused:
        read_entries(content.encode())
    assert words in str(refused.value)


def test_duplicate_ids_and_times_without_a_zone_are_refused() -> None:
    entry = KNOWN[1]
    with pytest.raises(KeysError, match="twice"):
        read_entries(write_entries((entry, entry)).encode())
    with pytest.raises(KeysError, match="no time zone"):
        read_entries(write_entries((entry,)).encode() + b"  expires: 2027-01-01 00:00:00\n")


def test_a_file_survives_being_written_and_read() -> None:
    _, entry = _made(
        expires=datetime(2027, 1, 1, tzinfo=UTC), models=["a*"], routes=["chat"], role="admin", limits={"rpm": 5}
    )
    assert read_entries(write_entries((entry, KNOWN[1])).encode()) == (entry, KNOWN[1])


def test_a_file_that_disappears_or_breaks_keeps_the_keys_and_logs_it_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key, entry = KNOWN
    path, keys, seconds = tmp_path / "keys.yaml", Keys(lambda: NOW), count()
    file = KeysFile(path, keys, lambda: next(seconds))
    good = write_entries((entry,))
    path.write_text(good)
    file.take(file.read())
    assert keys.count == 1
    for broken in ("keys: [", None, "keys: [", "", good[:-30]):
        caplog.clear()
        path.unlink(missing_ok=True)
        if broken is not None:
            path.write_text(broken)
        for _ in range(5):
            file.take(file.read())
        assert keys.reason
        assert keys.find(key.encode()) is not None
        assert len(caplog.records) == 1
    path.write_text(good)
    for _ in range(5):
        file.take(file.read())
    assert not keys.reason


def test_a_key_is_not_revived_by_a_file_that_is_half_written(tmp_path: Path) -> None:
    """Its entry without the last line, which revokes it, would be whole; formerly it worked until the writer went on.
    A replaced file without the entry is in force with the next check."""
    key, entry = _made(revoked=datetime.fromtimestamp(NOW - 1, UTC))
    path, keys, now = tmp_path / "keys.yaml", Keys(lambda: NOW), [0.0]
    file = KeysFile(path, keys, lambda: now[0])
    whole = write_entries((KNOWN[1], entry))
    path.write_text(whole)
    file.take(file.read())
    for at in range(1, len(whole)):
        path.write_text(whole[:at])
        now[0] += 0.5
        file.take(file.read())
        assert keys.find(key.encode()) is None
        assert keys.find(KNOWN[0].encode()) is not None
    new = tmp_path / "new"
    new.write_text(write_entries((entry,)))
    os.utime(new, ns=(1, 1))
    new.replace(path)
    file.take(file.read())
    assert keys.find(KNOWN[0].encode()) is None


async def test_until_a_file_was_read_keys_are_unavailable_not_invalid() -> None:
    keys = Keys()
    with pytest.raises(Unavailable):
        await keys.identify(b"aigw_some")
    assert await keys.identify(b"") is None


def test_a_revoked_key_is_invalid_even_if_its_date_is_in_the_future() -> None:
    key, entry = _made(revoked=datetime.fromtimestamp(NOW + 3600, UTC))
    assert _keys(entry).find(key.encode()) is None


@pytest.mark.parametrize("field", ["id", "name", "hash"])
def test_a_line_end_after_a_field_is_refused(field: str) -> None:
    entry = {"id": "aaaaaaaa", "name": "a", "hash": "sha256:" + "0" * 64}
    msgspec.convert(entry, KeyEntry)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**entry, field: entry[field] + "\n"}, KeyEntry)


def test_no_log_line_holds_a_key_or_its_hash(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    key, entry = KNOWN
    caplog.set_level("DEBUG")
    path, keys, seconds = tmp_path / "keys.yaml", Keys(lambda: NOW), count()
    file = KeysFile(path, keys, lambda: next(seconds))
    for content in (write_entries((entry,)), f"keys:\n- {entry.hash}: [", f"keys: [{{id: {key}}}]", f"{key}: {key}"):
        path.write_text(content)
        for _ in range(5):
            file.take(file.read())
        keys.find(key.encode())
    assert key[:14] not in caplog.text
    assert key[14:] not in caplog.text
    assert key[14:] not in str(keys.reason)


def test_a_key_can_have_limits_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those that are named, and no others."""
    path = tmp_path / "keys.yaml"
    made = ["keys", "create", "--name", "team-a", "--file", str(path), "--rpm", "60", "--tokens-per-day", "5000"]
    assert main(made) == 0
    (entry,) = read_entries(path.read_bytes())
    assert entry.limits == RateLimits(rpm=60, tokens_per_day=5000)
    assert "tpm" not in path.read_text()
    found = _keys(entry).find(capsys.readouterr().out.strip().encode())
    assert found is not None
    assert found.limits == entry.limits
    assert main(["keys", "create", "--name", "x", "--rpm", "0"]) == 1


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--name", "a b"], "--name: a name has 1 to 128 characters, and no spaces among them"),
        (["--name", "a", "--rpm", "0"], "--rpm: expected a whole number >= 1"),
        (
            ["--name", "a", "--routes", "chat,images"],
            "--routes: Invalid enum value 'images'; use one of audit, chat, completions, embeddings, models",
        ),
    ],
)
def test_a_refused_flag_is_named(flags: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "create", *flags]) == 1
    assert capsys.readouterr().err == f"ai-gateway keys: {reason}\n"


async def test_an_unexpected_failure_of_the_follower_is_logged_once_and_passes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as no room for a thread. The next read still happens, since it may revoke a key."""
    path = tmp_path / "keys.yaml"
    path.write_text(write_entries((KNOWN[1],)))
    monkeypatch.setattr(WatchedFile, "pause_seconds", 0.001)
    guard = AuthState(lambda _token, _audience: ReviewResult(), lambda _: None)  # type: ignore[arg-type, return-value]  # not asked
    guard.apply(Auth(methods=("keys",), keys_file=FilePath(path)), None)
    checks = count()

    def fails(_: WatchedFile) -> None:
        next(checks)
        raise RuntimeError("can't start new thread")

    following = asyncio.create_task(guard.follow())
    with monkeypatch.context() as patched:
        patched.setattr(WatchedFile, "check", fails)
        await until(lambda: next(checks) > 5)
        assert "can't start new thread" in guard.status()["complaints"]["keys"]
    await until(lambda: not guard.status()["complaints"])
    assert caplog.text.count("can't start new thread") == 1
    assert guard.status()["keys"] == 1
    following.cancel()
