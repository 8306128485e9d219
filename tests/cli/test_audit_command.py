"""`ai-gateway audit`: verifies a chain, and exports entries."""

import csv
import io
import json
import sqlite3
from pathlib import Path

import msgspec
import pytest
from tests.audit.entries import KEY, WRITER, entry, fill, mixed, store

from ai_gateway.__main__ import main
from ai_gateway.audit.chain import checkpoint
from ai_gateway.audit.format import as_csv


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of 300 entries in the default place, with its key."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("AI_GATEWAY_CONFIG", raising=False)
    made = tmp_path / "state" / "ai-gateway-ollama" / "audit.db"
    hashes = fill(made, mixed(300))
    made.with_name("audit.db.key").write_bytes(KEY + b"\n")
    expected = checkpoint(KEY, "checkpoint", (WRITER, 300, hashes[-1]), 1)
    log = [b"not JSON", b'{"log":"access"}', msgspec.json.encode({"audit_checkpoint": expected})]
    (tmp_path / "stdout.log").write_bytes(b"\n".join(log) + b"\n")
    return made


def edit(path: Path, sql: str) -> None:
    """A change behind the gateway's back."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(sql)
    connection.close()


def test_a_whole_chain_is_ok(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "verify", "--checkpoints", "stdout.log"]) == 0
    assert capsys.readouterr().out == "ok: 300 entries of 1 writers, 1 checkpoints\n"


def test_without_checkpoints_elsewhere_ok_says_what_was_not_checked(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A person who removes the last entries can also remove the store's checkpoints of them."""
    edit(path, "DELETE FROM entries WHERE sequence > 290")
    assert main(["audit", "verify"]) == 0
    expected = capsys.readouterr().out
    assert expected.startswith("ok: 290 entries of 1 writers, 0 checkpoints; add --checkpoints FILE ")
    assert len(expected.splitlines()) == 1


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("UPDATE entries SET actor = 'nobody' WHERE sequence = 17", "17: edited"),
        ("DELETE FROM entries WHERE sequence = 200", "200: missing"),
        ("DELETE FROM entries WHERE sequence > 290", "291: cut off"),
        ("UPDATE entries SET sequence = CASE sequence WHEN 4 THEN 900 ELSE 4 END WHERE sequence IN (4)", "4: missing"),
    ],
)
def test_the_first_bad_entry_is_named(path: Path, capsys: pytest.CaptureFixture[str], sql: str, expected: str) -> None:
    edit(path, sql)
    assert main(["audit", "verify", "--checkpoints", "stdout.log"]) == 1
    assert capsys.readouterr().out == f"{WRITER} {expected}\n"


def test_without_its_key_nothing_is_verified(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.with_name("audit.db.key").unlink()
    assert main(["audit", "verify"]) == 2
    assert "audit.db.key" in capsys.readouterr().err
    (path.parent / "elsewhere").write_bytes(KEY)
    assert main(["audit", "verify", "--key-file", str(path.parent / "elsewhere")]) == 0


def test_the_config_says_where_the_store_is(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = path.parent / "other.db"
    fill(other, mixed(7))
    (path.parent / "other.db.key").write_bytes(KEY)
    Path("config.yml").write_text(f"models: {{}}\naudit: {{path: {other}}}\n")
    assert main(["audit", "verify"]) == 0
    assert "7 entries" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "expected"),
    [("audit: {store: none}", "cannot read the store"), ("audit: {sotre: sqlite}", "unknown key")],
)
def test_what_prevents_a_check_is_printed(
    path: Path, capsys: pytest.CaptureFixture[str], content: str, expected: str
) -> None:
    Path("config.yml").write_text(content)
    for words in (["verify"], ["export"]):
        assert main(["audit", *words]) == 2
        assert expected in capsys.readouterr().err


def test_entries_are_exported_newest_first_as_lines_of_json(
    path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert main(["audit", "export", "--status", "404", "--model", "coder"]) == 0
    found = [json.loads(line) for line in capsysbinary.readouterr().out.splitlines()]
    wanted = [one for one in mixed(300)[::-1] if one.status == 404 and one.model_asked == "coder"]
    assert [one["sequence"] for one in found] == [one.sequence for one in wanted]
    assert found[0]["time"].startswith("2023-11-14T22:13:20.")


def test_an_export_is_as_long_as_the_audit(path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    fill(path, [entry(number, writer="there/2") for number in range(1, 2501)])
    assert main(["audit", "export"]) == 0
    assert len(capsysbinary.readouterr().out.splitlines()) == 2800


def test_no_cell_of_a_table_is_a_formula(path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """What a client writes into its head must do nothing in a spreadsheet."""
    hostile = entry(1, writer="there/2", user_agent='=cmd|"/C calc"!A0', model_asked='a,b\n"c"', actor="-x")
    fill(path, [hostile])
    assert main(["audit", "export", "--format", "csv", "--actor=-x"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsysbinary.readouterr().out.decode(), newline=""))
    assert (row["user_agent"], row["actor"]) == ('\'=cmd|"/C calc"!A0', "'-x")
    assert row["model_asked"] == 'a,b\n"c"'


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_no_sign_begins_a_formula(sign: str) -> None:
    """Some spreadsheets take full-width signs for the usual ones."""
    table = b"".join(as_csv([entry(1, user_agent=f"{sign}1+1")])).decode()
    (row,) = csv.DictReader(io.StringIO(table, newline=""))
    assert row["user_agent"] == f"'{sign}1+1"


def test_an_invalid_filter_is_named(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "export", "--since", "yesterday"]) == 2
    assert "since" in capsys.readouterr().err


def test_a_check_works_while_the_gateway_writes(path: Path) -> None:
    """The command and the gateway do not wait for each other."""
    written = store(path)
    written.write([entry(1, writer="there/2")], [b""])
    assert main(["audit", "export"]) == 0
    written.close()
