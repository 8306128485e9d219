"""Reads the lines of /api/pull: how far it is, and whether it went well (server/images.go, PullModel)."""

from typing import Final

import msgspec

from ai_gateway.upstream.inventory import number_of, text_of
from ai_gateway.wire.unreadable import UNREADABLE

LONGEST_LINE: Final = 64 << 10
MOST_LAYERS: Final = 1000
LONGEST_STATUS: Final = 256
LONGEST_REASON: Final = 500
RATE_SECONDS: Final = 10.0  # a rate is measured over so long at least


class PullFailure(Exception):
    """A pull has failed; the text is the reason."""


class _Line(msgspec.Struct):
    status: msgspec.Raw = msgspec.Raw()
    digest: msgspec.Raw = msgspec.Raw()
    total: msgspec.Raw = msgspec.Raw()
    completed: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


_read_line = msgspec.json.Decoder(_Line).decode


class Progress:
    """One pull of the model with this key. Changed by `feed`. Sizes are bytes, moments are monotonic seconds.

    `received` is what has come since, without what was there before.
    """

    def __init__(self, key: str, began_at: float) -> None:
        self.key = key
        self.received = 0
        self._layers: dict[str, tuple[int, int]] = {}  # by digest: completed and total
        self._rest = b""
        self._is_done = False
        self._first: tuple[float, int] | None = None  # when bytes were first told of, and how many
        self._now = began_at

    @property
    def completed(self) -> int:
        """Bytes of all layers that are here."""
        return sum(completed for completed, _ in self._layers.values())

    @property
    def total(self) -> int:
        """Bytes of all layers that are known; they are told of one after the other."""
        return sum(total for _, total in self._layers.values())

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return self.completed / self.total if self.total else 0.0

    @property
    def seconds_left(self) -> float | None:
        """As far as the rate so far tells."""
        if self._first is None or self._now <= self._first[0]:
            return None
        rate = (self.completed - self._first[1]) / (self._now - self._first[0])
        return (self.total - self.completed) / rate if rate > 0 else None

    def feed(self, data: bytes, now: float) -> None:
        """Takes what has come. Raises PullFailure."""
        self._now = now
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            raise PullFailure("/api/pull sends a line without an end")
        for line in lines:
            if line:
                self._read(line)

    def end(self) -> None:
        """The answer is over. Raises PullFailure if the pull is not."""
        if self._rest:
            self._read(self._rest)
        if not self._is_done:
            raise PullFailure("the pull broke off")

    def _read(self, text: bytes) -> None:
        try:
            if not text.isascii():
                text.decode()
            line = _read_line(text)
        except UNREADABLE:
            raise PullFailure("/api/pull sends what is not Ollama's") from None
        if bytes(line.error):
            raise PullFailure(text_of(line.error, LONGEST_REASON) or "the pull has failed")
        self._is_done = text_of(line.status, LONGEST_STATUS) == "success"
        digest, total = text_of(line.digest), number_of(line.total)
        if digest and total and (digest in self._layers or len(self._layers) < MOST_LAYERS):
            completed = min(number_of(line.completed) or 0, total)
            if digest in self._layers:
                self.received += max(0, completed - self._layers[digest][0])
            self._layers[digest] = (completed, total)
            if self._first is None:
                self._first = (self._now, self.completed)
