"""Token counts as Ollama reports them."""

from typing import Any

import pytest

from ai_gateway.wire.usage import Usage, read_usage


def test_usage_is_what_was_read_and_what_was_written() -> None:
    """Embeddings write nothing and name no completion tokens."""
    assert read_usage({"prompt_tokens": 12, "completion_tokens": 2, "total_tokens": 14}) == Usage(12, 2)
    assert read_usage({"prompt_tokens": 7, "total_tokens": 7}) == Usage(7, 0)


@pytest.mark.parametrize(
    "value", [None, [], "x", {}, {"prompt_tokens": 1.5}, {"prompt_tokens": 1, "completion_tokens": "2"}]
)
def test_anything_else_is_no_usage(value: Any) -> None:
    """It is not guessed."""
    assert read_usage(value) is None
