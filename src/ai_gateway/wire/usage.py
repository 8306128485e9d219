"""Tokens of a call: how many its prompt can have at most, how many Ollama reports, and whether that can be true.

A few byte searches over the body tell the size of the prompt; nothing is parsed. A text has no more tokens than bytes.
A chat template's text around a message, and a model's own system prompt, have at most TOKENS_PER_INPUT. The bytes of
images and audio (base64) do not tell their tokens: they do not count, and each image counts as one more input.
"""

from typing import Any, Final, Literal

import msgspec

# How a body holds its prompt: one text, texts that a model reads one by one, or messages, with media in them.
PromptKind = Literal["text", "texts", "messages"]

TOKENS_PER_INPUT: Final = 4096
TOKENS_PER_MEDIUM: Final = 1024  # an estimate for an image
MOST_SEARCHED: Final = 1 << 20  # bytes at once; a larger body counts as one input, since other limits bound it
MOST_MEDIA: Final = 64
NEAR_BYTES: Final = 128  # from the name of a piece of audio to its data

_ROLE: Final = b'"role"'
_QUOTE: Final = b'"'
_IMAGE: Final = b";base64,"
_AUDIO: Final = b'"input_audio"'
_AUDIO_DATA: Final = b'"data"'


class PromptSize(msgspec.Struct, frozen=True):
    """The content of a body: bytes of text (JSON's own included), messages or inputs, images and audio."""

    text_bytes: int
    inputs: int = 1
    media: int = 0

    @property
    def most_tokens(self) -> int:
        """No prompt of this size has more."""
        return self.text_bytes + TOKENS_PER_INPUT * (self.inputs + self.media)


class Measuring:
    """The size of a prompt whose body comes in windows. Changed by `feed`; each costs about a search or five."""

    __slots__ = ("_bytes", "_is_inside", "_media", "_media_bytes", "_quotes", "_roles")

    def __init__(self) -> None:
        self._bytes = 0
        self._roles = self._quotes = 0
        self._media = self._media_bytes = 0
        self._is_inside = False  # an image or audio goes on in the next window

    def feed(self, window: bytes) -> None:
        """Measures the next window. It may miss a key that spans two windows."""
        start = self._skip(window, 0) if self._is_inside else 0
        self._roles += window.count(_ROLE, start)
        self._quotes += window.count(_QUOTE, start)
        self._bytes += len(window)
        at = window.find(_IMAGE, start)
        while at >= 0 and self._media < MOST_MEDIA:
            self._media += 1
            at = window.find(_IMAGE, self._skip(window, at))
        if self._is_inside:
            return
        at = window.find(_AUDIO, start)
        while at >= 0 and self._media < MOST_MEDIA:
            self._media += 1
            key = window.find(_AUDIO_DATA, at, at + NEAR_BYTES)
            data = window.find(_QUOTE, key + len(_AUDIO_DATA)) if key >= 0 else -1
            at = window.find(_AUDIO, self._skip(window, data + 1) if data >= 0 else at + 1)

    def size(self, kind: PromptKind) -> PromptSize:
        """The size of the whole body. JSON escapes quotes, so that no text looks like a key."""
        if kind == "texts":
            return PromptSize(self._bytes, max(1, self._quotes // 2))
        if kind == "text":
            return PromptSize(self._bytes)
        return PromptSize(self._bytes - self._media_bytes, max(1, self._roles), self._media)

    def _skip(self, window: bytes, at: int) -> int:
        """Where the text at `at` ends; its bytes belong to an image."""
        end = window.find(_QUOTE, at)
        self._is_inside = end < 0
        end = len(window) if end < 0 else end
        self._media_bytes += end - at
        return end


def measure(kind: PromptKind, body: bytes) -> PromptSize:
    """The size of the prompt in a complete body."""
    if len(body) > MOST_SEARCHED:
        return PromptSize(len(body), 1, media=1 if kind == "messages" else 0)
    measuring = Measuring()
    measuring.feed(body)
    return measuring.size(kind)


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
