"""Token counts, as Ollama reports them at the end of an answer."""

from typing import Any, Final

import msgspec

MOST: Final = 1 << 53  # beyond it no number of JSON is exact


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one answer."""

    input_tokens: int
    output_tokens: int


def read_usage(value: Any) -> Usage | None:
    """OpenAI's `usage` object, or None for anything else."""
    if not isinstance(value, dict):
        return None
    read, written = value.get("prompt_tokens"), value.get("completion_tokens", 0)
    if not isinstance(read, int) or not isinstance(written, int) or max(abs(read), abs(written)) > MOST:
        return None
    return Usage(read, written)
