"""Token counts as Ollama reports them, and those that cannot be true."""

from typing import Any

import pytest

from ai_gateway.wire.usage import FEW_TOKENS, MOST_TOKENS, NO_COUNT, PromptSize, Seen, Usage, read_usage


def test_usage_is_what_was_read_and_what_was_written() -> None:
    """Embeddings write nothing and name no completion tokens."""
    assert read_usage({"prompt_tokens": 12, "completion_tokens": 2, "total_tokens": 14}) == Usage(12, 2)
    assert read_usage({"prompt_tokens": 7, "total_tokens": 7}) == Usage(7, 0)


@pytest.mark.parametrize("value", [None, [], "x", 7, True])
def test_anything_else_is_no_usage(value: Any) -> None:
    """It is not guessed."""
    assert read_usage(value) is None


@pytest.mark.parametrize("bad", [-1, 1.5, 1e308, "2", True, None, [], {}])
@pytest.mark.parametrize("key", ["prompt_tokens", "completion_tokens"])
def test_what_is_no_count_is_never_believed(key: str, bad: Any) -> None:
    usage = read_usage({"prompt_tokens": 1, "completion_tokens": 1, key: bad})
    assert usage is NO_COUNT
    assert not SEEN.allows(usage)


@pytest.mark.parametrize("value", [{}, {"total_tokens": 9}, {"completion_tokens": 3}])
def test_a_partly_invalid_usage_is_not_believed(value: Any) -> None:
    assert read_usage(value) is NO_COUNT


SEEN = Seen(PromptSize(200, 2), written=10, seconds=1.0)


@pytest.mark.parametrize(
    ("seen", "most"),
    [
        (Seen(PromptSize(100), 10, 1.0), 2000 + 10 + FEW_TOKENS),
        (Seen(PromptSize(100), 10, 3600.0), MOST_TOKENS),
        (Seen(PromptSize(100), 10, 3600.0, context=4096), 40960),
        (Seen(PromptSize(100), 10, 3600.0, token_limit=50), 50),
        (Seen(PromptSize(100), 10, 3600.0, token_limit=50_000_000), 3600 * 2000 + 10 + FEW_TOKENS),
        (Seen(PromptSize(100), 9000, 0.0), 9000 + FEW_TOKENS),
    ],
)
def test_an_answer_has_no_more_tokens_than_possible(seen: Seen, most: int) -> None:
    """Its limit, else ten contexts; and what can be written in that time, beyond what was seen to come."""
    assert seen.allows(Usage(1, most))
    assert not seen.allows(Usage(1, most + 1))
    assert not seen.allows(Usage(1, 2**53 - 1))


def test_a_prompt_has_no_more_tokens_than_its_body_allows() -> None:
    assert SEEN.allows(Usage(200 + 2 * 4096, 0))
    assert not SEEN.allows(Usage(200 + 2 * 4096 + 1, 0))
    assert not Seen(PromptSize(20 << 20), 0, 1.0).allows(Usage(MOST_TOKENS + 1, 0))
    assert Seen(PromptSize(20 << 20), 0, 1.0, is_many_texts=True).allows(Usage(MOST_TOKENS + 1, 0))
