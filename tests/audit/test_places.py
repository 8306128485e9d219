"""Where entries and the key lie, and lines of JSON for whoever collects them."""

import json
import stat
import threading
from pathlib import Path

import pytest
from tests.audit.entries import KEY, mixed

from ai_gateway.audit.chain import Link, verify
from ai_gateway.audit.entry import AuditEntry
from ai_gateway.audit.json_lines import JsonLinesStore
from ai_gateway.audit.key import read_key, read_or_make_key
from ai_gateway.audit.store import StoreUnavailable
from ai_gateway.audit.stores import path_of, store_pair
from ai_gateway.config.audit import AuditSection
from ai_gateway.config.loading import ConfigError, parse


@pytest.mark.parametrize(
    ("environment", "path"),
    [
        ({"XDG_STATE_HOME": "/state", "HOME": "/home/jo"}, "/state/ai-gateway-ollama/audit.db"),
        ({"XDG_STATE_HOME": "state", "HOME": "/home/jo"}, "/home/jo/.local/state/ai-gateway-ollama/audit.db"),
        ({"XDG_STATE_HOME": "", "HOME": "/home/jo"}, "/home/jo/.local/state/ai-gateway-ollama/audit.db"),
        ({}, None),
    ],
)
def test_the_usual_place_is_the_users_state_directory(environment: dict[str, str], path: str | None) -> None:
    found = path_of(AuditSection(), environment)
    assert found == (None if path is None else Path(path))


def test_without_a_place_the_store_says_what_to_set() -> None:
    with pytest.raises(StoreUnavailable, match=r"audit\.path"):
        store_pair(AuditSection(), {}).store.open()


def test_of_several_gateways_that_make_a_key_all_have_the_same(tmp_path: Path) -> None:
    found: list[bytes] = []
    path = tmp_path / "deeper" / "audit.db.key"
    makers = [threading.Thread(target=lambda: found.append(read_or_make_key(path))) for _ in range(8)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert len(found) == 8
    assert set(found) == {read_key(path)}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_key_that_is_too_short_is_none(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("short")
    with pytest.raises(OSError, match="at least 32"):
        read_or_make_key(tmp_path / "key")


def test_lines_of_json_hold_what_verification_needs(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    store = JsonLinesStore(path, is_synced=True)
    entries = mixed(20)
    hashes = Link(KEY).join(entries)
    store.open()
    store.write(entries[:12], hashes[:12])
    store.close()
    store.open()
    store.write(entries[12:], hashes[12:])
    store.close()
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    chain = [(AuditEntry(**line["entry"]), bytes.fromhex(line["hash"])) for line in lines]
    assert [entry for entry, _ in chain] == entries
    assert list(verify(chain, [], KEY)) == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("section", "reason"),
    [
        ("{store: jsonl, mode: strict}", "audit.mode"),
        ("{store: postgresql}", "audit.dsn"),
        ("{store: postgresql, dsn: x, path: y}", "audit.path"),
        ("{key_file: /nonexistent/key}", "audit.key_file"),
        ("{redact: ['(']}", r"audit.redact\[0\]"),
        ("{keep: forever}", "audit.keep"),
        ("{mode: sometimes}", "audit.mode"),
        ("{modus: strict}", "audit: unknown key"),
    ],
)
def test_a_section_that_cannot_work_is_refused_with_its_key(section: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        parse(f"audit: {section}".encode())
