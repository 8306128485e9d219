"""How large a prompt can be at most, by a few byte searches over its body, without parsing it.

A text has no more tokens than bytes. A chat template's text around a message, and a model's own system prompt,
have at most TOKENS_PER_INPUT. The bytes of images and audio (base64) do not tell their tokens: they do not count,
and each image counts as one more input.
"""

from typing import Final, Literal

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

    @property
    def is_plain(self) -> bool:
        """Whether it has only text."""
        return not self.media


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
        self._check(window, start)

    def size(self, kind: PromptKind) -> PromptSize:
        """The size of the whole body. JSON escapes quotes, so that no text looks like a key."""
        if kind == "texts":
            return PromptSize(self._bytes, max(1, self._quotes // 2))
        if kind == "text":
            return PromptSize(self._bytes)
        return PromptSize(self._bytes - self._media_bytes, max(1, self._roles), self._media)

    def _check(self, window: bytes, start: int) -> None:
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
