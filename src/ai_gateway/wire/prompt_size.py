"""How large a prompt can be at most, read off its body without taking it apart: searches for bytes, and few of them.

Text has no more tokens than bytes; what a chat template puts around a message, and a system prompt of the model's own,
has at most TOKENS_PER_INPUT. The bytes of images and audio (base64) say nothing of their tokens: they are left out, and
each counts as one more input.
"""

from typing import Final

import msgspec

TOKENS_PER_INPUT: Final = 4096
TOKENS_PER_MEDIUM: Final = 1024  # what an image is thought to take
MOST_SEARCHED: Final = 1 << 20  # bytes; a larger body is one input, since what it may be is bounded otherwise
MOST_COUNTED: Final = 1 << 16  # bytes in which messages or inputs are counted; their text outweighs them beyond
MOST_MEDIA: Final = 64
NEAR_BYTES: Final = 128  # from the name of a piece of audio to its data

_ROLE: Final = b'"role"'
_QUOTE: Final = b'"'
_IMAGE: Final = b";base64,"
_AUDIO: Final = b'"input_audio"'
_AUDIO_DATA: Final = b'"data"'


class PromptSize(msgspec.Struct, frozen=True):
    """What a body holds: bytes of text (names and signs of JSON are in it), messages or inputs, images and audio."""

    text_bytes: int
    inputs: int = 1
    media: int = 0

    @property
    def most_tokens(self) -> int:
        """No prompt of this size has more."""
        return self.text_bytes + TOKENS_PER_INPUT * (self.inputs + self.media)

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing but text in it."""
        return not self.media


def measure(operation: str, body: bytes) -> PromptSize:
    """The size of the prompt in a request's body. JSON escapes quotes, so that no text looks like a key."""
    size = len(body)
    if size > MOST_SEARCHED:
        return PromptSize(size, 1, media=1 if operation == "chat" else 0)
    if operation == "embeddings":
        return PromptSize(size, max(1, body.count(_QUOTE, 0, MOST_COUNTED) // 2))
    if operation != "chat":
        return PromptSize(size)
    inputs = max(1, body.count(_ROLE, 0, MOST_COUNTED))
    media, media_bytes = _media(body)
    return PromptSize(size - media_bytes, inputs, media)


def _media(body: bytes) -> tuple[int, int]:
    """How many images and pieces of audio there are, and how many bytes they take."""
    count = taken = 0
    at = body.find(_IMAGE)
    while at >= 0 and count < MOST_MEDIA:
        end = body.find(_QUOTE, at)
        count, taken = count + 1, taken + max(0, end - at)
        at = body.find(_IMAGE, end) if end >= 0 else -1
    at = body.find(_AUDIO)
    while at >= 0 and count < MOST_MEDIA:
        key = body.find(_AUDIO_DATA, at, at + NEAR_BYTES)
        start = body.find(_QUOTE, key + len(_AUDIO_DATA)) if key >= 0 else -1
        end = body.find(_QUOTE, start + 1) if start >= 0 else -1
        count, taken = count + 1, taken + max(0, end - start - 1)
        at = body.find(_AUDIO, max(at, end) + 1)
    return count, taken
