"""Whatever reading, parsing or checking stumbles over is a complaint with its path: short, bounded, fit for a log."""

import json
import time

import pytest

from ai_gateway.config import audit, loading
from ai_gateway.config.loading import MAX_BYTES, ConfigError, parse
from ai_gateway.config.reason import MOST_CHARACTERS, MOST_REASONS, ConfigReason
from ai_gateway.config.types import Config


def reasons(content: str) -> list[ConfigReason]:
    with pytest.raises(ConfigError) as caught:
        parse(content.encode())
    return caught.value.reasons


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("(" * 500 + "a" + ")" * 500, "RecursionError"),
        ("a{99999999999}", "OverflowError"),
        ("(?P<a>x)(?P<a>x)", "redefinition of group"),
        ("(", "unterminated subpattern"),
        ("(?<=a+)b", "look-behind"),
        ("[b-a]", "bad character range"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_told(pattern: str, words: str) -> None:
    """Formerly five hundred groups in one another ended the gateway at the start."""
    (reason,) = reasons(f"audit: {{redact: [{json.dumps(pattern)}]}}")
    assert reason.path == "audit.redact[0]"
    assert words in reason.message


def test_many_groups_beside_one_another_are_no_fault() -> None:
    assert parse(f"audit: {{redact: ['{'(a)' * 500}']}}".encode()).audit.redact


def test_patterns_that_take_long_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Together: a file has room for many."""
    monkeypatch.setattr(audit, "REDACT_SECONDS", 0.0)
    assert reasons("audit: {redact: [a, b]}")[0].message.startswith("takes more than 0 s of CPU")


@pytest.mark.parametrize(
    "content",
    [
        "? 0x" + "f" * 5000 + "\n: 1",
        "models: {? 0x" + "f" * 5000 + "\n: {}}",
        "x" * 100_000 + ": 1",
        '"\\u2028\\x07\\ud83d\\ude00": 1',
        "timeouts: {idle: " + "x" * 100_000 + "}",
        "listen: " + "9" * 100_000,
        "version: 1" + ":00" * 10_000,
        "? !!timestamp 2026-01-01\n: 1",
        "models: {.nan: {}, .inf: {}, 1e999: {}}",
        "models: {a: {aliases: [" + "b, " * 10_000 + "]}}",
        "discovery: {static: ['http://[', 'http://a:99999', 'http://[::1']}",
    ],
)
def test_complaints_are_short_and_can_be_written(content: str) -> None:
    found = reasons(content)
    assert found
    assert json.dumps(found).encode()
    assert all(len(text) <= MOST_CHARACTERS + 1 for reason in found for text in reason)


@pytest.mark.parametrize(
    "content",
    [
        "".join(f"key{number}: 1\n" for number in range(50_000)),
        "models:\n" + "".join(f"  model{number}: {{x: 1}}\n" for number in range(40_000)),
        "models:\n" + "".join(f"  a/../{number}: {{}}\n" for number in range(20_000)),
        "trusted_proxies: [" + "x, " * 90_000 + "]",
        "cors: {origins: [" + "x, " * 90_000 + "]}",
    ],
)
def test_complaints_are_bounded(content: str) -> None:
    """Each of them is a line of the log, and part of each answer of health."""
    assert len(content) < MAX_BYTES
    began = time.thread_time()
    found = reasons(content)
    assert len(found) == MOST_REASONS + 1
    assert found[-1] == ("", "there are more problems; fix these first")
    assert time.thread_time() - began < 5


def test_a_check_that_breaks_is_a_complaint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ours: it must not end the gateway, nor go on as if all were well."""

    def broken(_: Config) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(loading, "_check", broken)
    assert reasons("models: {}") == [("", "cannot be read: MemoryError: no room")]
