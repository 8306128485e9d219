"""The leading parts of a prompt, as digests: by them a call that goes on with a conversation is known.

No text is kept. All gateways make the same digests of the same prompt, whatever the size of its body.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Final

import msgspec

from ai_gateway.wire.json_scan import Piece, TooMuch, Value
from ai_gateway.wire.placeholders import Placeholders

KEPT_ENDS: Final = 16  # the next turn adds an answer and a question, and some calls of tools with their results
# Of a longer message its beginning and its length count, so that images cost nothing. From 2 KiB on, a hash lets
# other threads run, and then waits for them.
MESSAGE_BYTES: Final = 2000
MOST_BEFORE_USER: Final = 32  # messages among which the first of a user is looked for
STEP_BYTES: Final = 1 << 10  # of a text without messages
MOST_STEPS: Final = 64
MOST_OF_GROUP: Final = 1 << 20  # bytes of some messages without their long texts

Digest = hashlib.blake2b


class Leading(msgspec.Struct, frozen=True, gc=False):
    """`ends` has a digest for each of the longest leading parts, longest first: the first is that of the whole prompt.

    `first` is that of the part with which the conversation began: all up to the first message of a user.
    """

    ends: tuple[bytes, ...]
    first: bytes


# The leading parts of a prompt's JSON text. The digest has begun with what else tells two conversations apart.
# Yields between steps, as large bodies are read.
LeadingParts = Callable[[msgspec.Raw, Placeholders | None, Digest], Generator[int, None, Leading]]


class _Role(msgspec.Struct, frozen=True, gc=False):
    role: str


_decode_role = msgspec.json.Decoder(_Role).decode
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode


class _Chain:
    """Messages that were read so far. Changed by `read`. Messages are compared as the gateway sends them, since it
    rewrites each by itself: one that was rewritten in this turn is rewritten in the same way in the next."""

    __slots__ = ("_digest", "_ends", "_first", "_looks")

    def __init__(self, digest: Digest) -> None:
        self._digest = digest
        self._ends: deque[Digest] = deque(maxlen=KEPT_ENDS)
        self._first: Digest | None = None
        self._looks = MOST_BEFORE_USER

    def read(self, items: Sequence[msgspec.Raw], placeholders: Placeholders | None = None) -> None:
        """Takes the next messages; `placeholders` has their long texts."""
        digest, ends = self._digest, self._ends
        kept_from = len(items) - KEPT_ENDS
        for index, item in enumerate(items):
            head, size = _short_head(item) if placeholders is None else _head(placeholders, bytes(item))
            digest.update(head)
            if size > MESSAGE_BYTES:
                digest.update(b"%d" % size)
            if index >= kept_from:
                ends.append(digest.copy())
            if self._looks:
                self._look(item)

    def _look(self, item: msgspec.Raw) -> None:
        """Looks for the first message of a user; without one, the first message counts."""
        self._looks -= 1
        is_user = _decode_role(item).role.lower() == "user"
        if is_user or self._first is None:
            self._first = self._digest.copy()
        if is_user:
            self._looks = 0

    def leading(self) -> Leading:
        """The parts that end with one of the last messages, or with the first of a user."""
        if self._first is None:
            return Leading((), b"")
        first = self._first.digest()
        ends = [end.digest() for end in reversed(self._ends)]
        if first in ends:
            del ends[ends.index(first) :]  # a shorter part is that of many conversations
        return Leading((*ends, first), first)


def of_messages(text: msgspec.Raw, placeholders: Placeholders | None, digest: Digest) -> Generator[int, None, Leading]:
    """Parts that end with a message. Of a list that was read in windows, one window per step."""
    chain = _Chain(digest)
    value = None if placeholders is None else placeholders.value(bytes(text))
    if placeholders is None or value is None:
        chain.read(_decode_items(text))
    else:
        yield from _read_groups(chain, value, placeholders)
    return chain.leading()


def _read_groups(chain: _Chain, value: Value, placeholders: Placeholders) -> Generator[int, None, None]:
    """Reads what can be read: the same text stops in the same place each time, and leads to the same digests."""
    for group in value.groups:
        try:
            if len(group) == 1:
                chain.read(_decode_items(b"[%b]" % group[0]))
            else:
                yield from _read_long(chain, group, Placeholders(placeholders))
        except (TooMuch, msgspec.DecodeError):
            return
        yield 0


def _read_long(chain: _Chain, group: Sequence[Piece], placeholders: Placeholders) -> Generator[int, None, None]:
    light = yield from placeholders.shortened(group, MOST_OF_GROUP)
    chain.read(_decode_items(b"[%b]" % light), placeholders)


def _short_head(item: msgspec.Raw) -> tuple[memoryview, int]:
    view = memoryview(item)
    size = view.nbytes
    return (view if size <= MESSAGE_BYTES else view[:MESSAGE_BYTES]), size


def _head(placeholders: Placeholders, item: bytes) -> tuple[bytes, int]:
    """The beginning of a message, and its length."""
    head, size = b"", 0
    for piece in placeholders.pieces(item):
        if len(head) < MESSAGE_BYTES:
            head += piece[: MESSAGE_BYTES - len(head)]
        size += len(piece)
    return head, size


def of_text(text: msgspec.Raw, placeholders: Placeholders | None, digest: Digest) -> Generator[int, None, Leading]:
    """Parts of whole steps, up to the first 64 KiB; of a text that is shorter than a step, the whole."""
    yield from ()  # its beginning is one step
    begun = bytearray()
    most = MOST_STEPS * STEP_BYTES + 2
    for piece in (bytes(text),) if placeholders is None else placeholders.pieces(bytes(text)):
        begun += piece[: most - len(begun)]
        if len(begun) == most:
            break
    letters = memoryview(begun)[1:-1]  # without the quotes: the next text goes on there
    whole_steps = len(letters) // STEP_BYTES
    if not whole_steps:
        digest.update(letters)
        return Leading((digest.digest(),), digest.digest())
    ends: deque[bytes] = deque(maxlen=KEPT_ENDS)
    digest.update(letters[:STEP_BYTES])
    first = digest.digest()
    for step in range(1, whole_steps):
        digest.update(letters[step * STEP_BYTES : (step + 1) * STEP_BYTES])
        ends.appendleft(digest.digest())
    return Leading((*ends, first), first)
