"""Patterns of the config that take time in the square of a text: bounded, others run meanwhile, nothing leaks."""

import random
import re
import threading
import time

import pytest

from ai_gateway.audit import redaction as module
from ai_gateway.audit.redaction import MOST_SECONDS, TOO_SLOW, redaction

KIB = 1024


@pytest.mark.parametrize("pattern", [r"\w+\d", r"\S+@\S+", r"\S+-\d"])
def test_a_slow_pattern_ends_in_time_and_what_it_did_not_see_is_not_kept(pattern: str) -> None:
    redact = redaction([pattern], 64 * KIB)
    began = time.thread_time()
    kept = redact("a" * 60 * KIB + " secret@corp 12345678901")
    assert time.thread_time() - began < MOST_SECONDS + 1
    assert kept.endswith(TOO_SLOW)
    assert "secret" not in kept


def test_the_bound_is_for_all_texts_of_a_content_together() -> None:
    text = "a" * 16 * KIB
    content = module._encode({"messages": [{"content": text}] * 3 + [{"content": "secret1"}]}).decode()
    began = time.thread_time()
    kept = redaction([r"\w+\d"], 64 * KIB)(content)
    assert time.thread_time() - began < MOST_SECONDS + 1
    assert "secret" not in kept
    assert module._decode(kept)["messages"]


def test_others_run_meanwhile() -> None:
    """A thread that only wants to go on does so hundreds of times."""
    went_on = 0
    is_over = threading.Event()

    def go_on() -> None:
        nonlocal went_on
        while not is_over.is_set():
            time.sleep(0)
            went_on += 1

    other = threading.Thread(target=go_on)
    other.start()
    redaction([r"\w+\d"], 64 * KIB)("a" * 64 * KIB)
    is_over.set()
    other.join()
    assert went_on > 100


def test_a_long_text_is_read_as_a_short_one_is() -> None:
    """What stands before and behind a place counts, however a text is gone through."""
    patterns = (
        r"\w+\d", r"\bEMP-\d+\b", r"(?m)^a.*$", r"(?<=k)\w{2}", r"(?i)password\s*[:=]\s*\S+", r"x*", r".*b.*",
        r"\d+$", r"^\w", r"a(?=1)", r"(?s)EMP.{1,300}?password",
    )  # fmt: skip
    rng = random.Random(1)
    words = ["a", "b", "k", "1", " ", "EMP-12", "\n", "password: x", "x"]
    for pattern in map(re.compile, patterns):
        text = "".join(rng.choices(words, k=900))
        found = [match.span() for match in pattern.finditer(text) if match[0]]
        assert [one[:2] for one in module._Own((pattern,)).check(text)] == found, pattern


def test_a_match_of_many_lines_is_found_whole() -> None:
    key = "-----BEGIN PRIVATE KEY-----\n" + "c2VjcmV0\n" * 400 + "-----END PRIVATE KEY-----"
    redact = redaction([r"(?s)-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----"], 64 * KIB)
    assert redact(f"{'so ' * 500}{key}{' on' * 500}") == f"{'so ' * 500}[redacted]{' on' * 500}"
