"""Token counts as Ollama reports them at the end of an answer, and the highest counts that are possible."""

from typing import Any, Final

import msgspec

from ai_gateway.wire.prompt_size import PromptSize

# Ollama itself stops an answer without `max_tokens` at ten times its context (boundedNumPredict in llama_server.go).
CONTEXTS: Final = 10
MOST_TOKENS: Final = 1 << 20  # of a prompt or an answer, if the context is not known
TOKENS_PER_SECOND: Final = 2000  # more than any model writes
FEW_TOKENS: Final = 256  # believed at any speed: Ollama may compute an answer before it sends the head
BYTES_PER_TOKEN: Final = 4  # of text, an estimate


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one answer. A negative number means that Ollama sent something else than a count."""

    input_tokens: int
    output_tokens: int


NO_COUNT: Final = Usage(-1, -1)


class Seen(msgspec.Struct, frozen=True):
    """What the gateway itself knows of a call: enough to find impossible usage.

    `written`: tokens that it counted. `token_limit`: `max_tokens` as sent to Ollama, or None.
    """

    prompt: PromptSize
    written: int
    seconds: float
    token_limit: int | None = None
    context: int | None = None
    is_many_texts: bool = False

    @property
    def most_written(self) -> int:
        """The most tokens that a model can have written by now."""
        return min(
            self._most if self.token_limit is None else self.token_limit,
            int(self.seconds * TOKENS_PER_SECOND) + self.written + FEW_TOKENS,
        )

    @property
    def _most(self) -> int:
        return MOST_TOKENS if self.context is None else CONTEXTS * self.context

    def allows(self, usage: Usage) -> bool:
        """Whether a model can have read and written so many tokens."""
        # A model reads a list of texts one by one: only its own size bounds the sum.
        most_read = self.prompt.most_tokens if self.is_many_texts else min(self._most, self.prompt.most_tokens)
        return 0 <= usage.input_tokens <= most_read and 0 <= usage.output_tokens <= self.most_written


def read_usage(value: Any) -> Usage | None:
    """OpenAI's `usage` object; None if there is none, NO_COUNT if it holds anything but counts."""
    if not isinstance(value, dict):
        return None
    read, written = value.get("prompt_tokens"), value.get("completion_tokens", 0)
    if type(read) is not int or type(written) is not int or read < 0 or written < 0:
        return NO_COUNT
    return Usage(read, written)


def tokens_of_text(text_bytes: int) -> int:
    """About how many tokens a text has."""
    return -(-text_bytes // BYTES_PER_TOKEN)
