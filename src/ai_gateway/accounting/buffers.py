"""Room for bodies and answers: how many bytes the gateway holds, and for which caller. Plain arithmetic, no waiting.

A part of the room is for bodies of a few kilobytes. A single caller may use all of the rest. When another caller needs
room, the caller or address that holds more gives way. It loses its newest bodies that no endpoint works for yet, until
the other has room or would hold as much itself.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from ai_gateway.accounting.fair_slices import FairSlices
from ai_gateway.errors import BuffersFull

SMALL_BYTES: Final = 64 << 10  # a body up to here is small, whatever length it announces
SMALL_PART: Final = 8  # of the room is for small bodies alone


class Buffers:
    """All room of one gateway, in bytes. Changed by its shares."""

    def __init__(self) -> None:
        self.held_bytes = 0
        self.large_bytes = 0  # of them, in shares that are not small
        self.slices = FairSlices()
        self.shares: dict[BodyShare, None] = {}  # the oldest first

    def count(self, share: "BodyShare", size: int) -> None:
        """Adds the bytes that a share has more, or less."""
        self.held_bytes += size
        if share.is_large:
            self.large_bytes += size

    def bytes_held(self) -> "tuple[Counter[str], Counter[str]]":
        """Bytes by caller, and by address. Added up only when room is short, so that ordinary calls pay nothing."""
        callers: Counter[str] = Counter()
        addresses: Counter[str] = Counter()
        for share in self.shares:
            callers[share.caller] += share.held_bytes
            addresses[share.address] += share.held_bytes
        return callers, addresses


class BodyShare:
    """The bytes of one request: `take` before you keep any, `release` when they are needed no more.

    `give_way`, where it is set, ends the request because other callers need its room. `limits` are the bytes of all
    room, and of the largest body: one such body must fit even in a small room.
    """

    __slots__ = ("_buffers", "_limits", "address", "caller", "give_way", "held_bytes", "is_large")

    def __init__(self, buffers: Buffers, limits: tuple[int, int], caller: str, address: str) -> None:
        self._buffers = buffers
        self._limits = limits
        self.caller = caller
        self.address = address
        self.held_bytes = 0
        self.is_large = False
        self.give_way: Callable[[], None] | None = None

    def take(self, size: int) -> None:
        """Holds more. Raises BuffersFull if there is no room and no other request has to give way."""
        buffers = self._buffers
        if not self.held_bytes:
            buffers.shares[self] = None
        if not self.is_large and self.held_bytes + size > SMALL_BYTES:
            self.is_large = True
            buffers.large_bytes += self.held_bytes
        if not self._fits(size):
            for share in self._givers(size):
                share._yield_room()
        self.held_bytes += size
        buffers.count(self, size)

    def change(self, size: int) -> None:
        """Holds more, or less if `size` is below 0."""
        if size > 0:
            self.take(size)
        elif size:
            self.held_bytes += size
            self._buffers.count(self, size)

    def release(self) -> None:
        """Gives back what is held; may be called again."""
        held, self.held_bytes = self.held_bytes, 0
        if held:
            self._buffers.count(self, -held)
        self._buffers.shares.pop(self, None)
        self.is_large = False
        self.give_way = None

    def _yield_room(self) -> None:
        give_way = self.give_way
        self.release()
        if give_way is not None:
            give_way()

    def _fits(self, size: int, given: int = 0, large_given: int = 0) -> bool:
        room, body = self._limits
        if self._buffers.held_bytes - given + size > room:
            return False
        if not self.is_large:
            return True
        return self._buffers.large_bytes - large_given + size <= max(room - room // SMALL_PART, body)

    def _givers(self, size: int) -> "list[BodyShare]":
        """The requests that give way so that this one fits; none does so in vain."""
        given = large_given = 0
        found: list[BodyShare] = []
        callers, addresses = self._buffers.bytes_held()
        own_caller, own_address = callers[self.caller] + size, addresses[self.address] + size
        for share in self._younger_first():
            is_hog = share.caller != self.caller and callers[share.caller] > own_caller
            is_hog = is_hog or (share.address != self.address and addresses[share.address] > own_address)
            if not is_hog:
                continue
            found.append(share)
            given += share.held_bytes
            large_given += share.held_bytes if share.is_large else 0
            callers[share.caller] -= share.held_bytes
            addresses[share.address] -= share.held_bytes
            if self._fits(size, given, large_given):
                break
        if not self._fits(size, given, large_given):
            raise full()
        return found

    def _younger_first(self) -> "Iterator[BodyShare]":
        for share in reversed(self._buffers.shares):
            if share is not self and share.give_way is not None and share.held_bytes:
                yield share


def full() -> BuffersFull:
    """There is no room."""
    return BuffersFull("The gateway holds as many bytes of requests and answers as it may; try again in a moment.")


def others_first() -> BuffersFull:
    """There was room, and others need it more."""
    return BuffersFull(
        "Others need room for their requests, and you hold more than a share of it; try again in a moment."
    )
