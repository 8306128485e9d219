"""A queue in which the caller that was served least goes first (virtual token counters: arXiv 2401.00588).

Order: calls that are sent again, then interactive calls, then batch calls; a batch call that has waited BATCH_SECONDS
counts as interactive. Within that, the caller with the fewest tokens served is next, and its oldest call. Who comes
new starts at the count of whoever was served last, so that nobody saves up a right to the whole fleet.
"""

from collections import deque
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Final

from ai_gateway.balancing.ticket import Claim, Ticket

BATCH_SECONDS: Final = 30.0
MOST_CALLERS: Final = 10_000  # whose counts are kept while they do not wait

_Entry = tuple[float, float, int, str]  # tokens served, when the first call came, a number, the caller


class _Class:
    """The calls of one priority, by caller. Changed by its queue."""

    __slots__ = ("_current", "_heap", "_number", "callers", "count")

    def __init__(self) -> None:
        self.callers: dict[str, deque[Ticket]] = {}
        self.count = 0
        self._heap: list[_Entry] = []
        self._current: dict[str, _Entry] = {}
        self._number = 0

    def push(self, ticket: Ticket, served: float) -> None:
        tickets = self.callers.get(ticket.claim.caller)
        self.count += 1
        if tickets is None:
            self.callers[ticket.claim.caller] = deque((ticket,))
            self.rank(ticket.claim.caller, served)
        else:
            tickets.append(ticket)

    def rank(self, caller: str, served: float) -> None:
        """Notes the caller's place anew, after its count or its first call has changed."""
        tickets = self.callers.get(caller)
        if tickets is None:
            return
        self._number += 1
        entry = self._current[caller] = (served, tickets[0].came_at, self._number, caller)
        heappush(self._heap, entry)
        if len(self._heap) > 2 * len(self.callers) + 64:
            self._heap = list(self._current.values())
            heapify(self._heap)

    def first(self) -> tuple[float, Ticket] | None:
        """The next call with its caller's count."""
        while self._heap:
            entry = self._heap[0]
            if self._current.get(entry[3]) is entry:
                return entry[0], self.callers[entry[3]][0]
            heappop(self._heap)
        return None

    def remove(self, ticket: Ticket, served: float) -> None:
        caller = ticket.claim.caller
        tickets = self.callers[caller]
        was_first = tickets[0] is ticket
        tickets.remove(ticket)
        self.count -= 1
        if not tickets:
            del self.callers[caller], self._current[caller]
        elif was_first:
            self.rank(caller, served)


class FairQueue:
    """The waiting calls of one pool. Changed by the pool. `served` has tokens by caller; clocks are the pool's."""

    def __init__(self) -> None:
        self._again: deque[Ticket] = deque()
        self._interactive = _Class()
        self._batch = _Class()
        self._floor = 0.0
        self.served: dict[str, float] = {}  # what counts for the order, by caller
        self.own: dict[str, float] = {}  # what this gateway alone has served

    def __len__(self) -> int:
        return len(self._again) + self._interactive.count + self._batch.count

    def __iter__(self) -> Iterator[Ticket]:
        """All calls, in no order."""
        yield from self._again
        for kind in (self._interactive, self._batch):
            for tickets in kind.callers.values():
                yield from tickets

    @property
    def has_first_attempts(self) -> bool:
        """Whether others wait than those that are sent again."""
        return bool(self._interactive.count or self._batch.count)

    def again(self) -> tuple[Ticket, ...]:
        """The calls that are sent again, newest first: each may use other endpoints than the rest."""
        return tuple(self._again)

    def push(self, ticket: Ticket) -> None:
        """Adds a call. One that was sent already goes to the front."""
        if ticket.avoid:
            self._again.appendleft(ticket)
            return
        caller = ticket.claim.caller
        if not self.holds(caller):
            self._lift(caller)
        self._class(ticket).push(ticket, self.served[caller])

    def _lift(self, caller: str) -> None:
        self._bound()
        self.served[caller] = max(self.served.get(caller, 0.0), self._floor)

    def _bound(self) -> None:
        """Forgets callers that do not wait: they come back as new ones."""
        if len(self.served) >= MOST_CALLERS and len(self.served) >= 2 * len(self.callers()):
            self.served = {name: served for name, served in self.served.items() if self.holds(name)}

    def firsts(self) -> Iterator[Ticket]:
        """The oldest call of each caller, and all that are sent again."""
        yield from self._again
        for kind in (self._interactive, self._batch):
            for tickets in kind.callers.values():
                yield tickets[0]

    def first(self, now: float) -> Ticket | None:
        """The next call that was not sent yet."""
        first, batch = self._interactive.first(), self._batch.first()
        if first is None or batch is None:
            only = first or batch
            return None if only is None else only[1]
        if now - batch[1].came_at >= BATCH_SECONDS and (batch[0], batch[1].came_at) < (first[0], first[1].came_at):
            return batch[1]
        return first[1]

    def remove(self, ticket: Ticket) -> bool:
        """Takes a call out; False if it does not wait."""
        if ticket.avoid:
            if ticket not in self._again:
                return False
            self._again.remove(ticket)
            return True
        kind = self._class(ticket)
        if ticket not in kind.callers.get(ticket.claim.caller, ()):
            return False
        kind.remove(ticket, self.served[ticket.claim.caller])
        return True

    def holds(self, caller: str) -> int:
        """How many calls of a caller wait."""
        return sum(len(kind.callers.get(caller, ())) for kind in (self._interactive, self._batch))

    def callers(self) -> set[str]:
        """Who waits."""
        return self._interactive.callers.keys() | self._batch.callers.keys()

    def greediest(self) -> str | None:
        """The caller with the most waiting calls; of equals always the same one."""
        return max(self.callers(), key=lambda caller: (self.holds(caller), caller), default=None)

    def share(self, caller: str, most: int) -> float:
        """How many of `most` places are a caller's, if all who wait have the same number."""
        return most / len(self.callers() | {caller})

    def gives_way(self, caller: str, most: int) -> Ticket | None:
        """The call that makes room in a full queue for a new one of a caller; None: the new one gets none."""
        share, greediest = self.share(caller, most), self.greediest()
        if greediest is None or self.holds(caller) + 1 > share or self.holds(greediest) <= share:
            return None
        return self.newest(greediest)

    def newest(self, caller: str) -> Ticket | None:
        """The last call of a caller, a batch call before others."""
        for kind in (self._batch, self._interactive):
            if tickets := kind.callers.get(caller):
                return tickets[-1]
        return None

    def charge(self, caller: str, tokens: float, *, is_own: bool = True) -> None:
        """Counts tokens for a caller; a negative number gives some back. Not `is_own`: another gateway served them."""
        if is_own:
            if len(self.own) > MOST_CALLERS:
                self.own.clear()
            self.own[caller] = max(0.0, self.own.get(caller, 0.0) + tokens)
        before = self.served.get(caller)
        if before is None:
            self._bound()
            before = self._floor
        served = self.served[caller] = max(0.0, before + tokens)
        is_asked = self.has_first_attempts
        if tokens > 0:
            self._floor = max(self._floor, min(before, self._least(before)) if is_asked else before)
        if is_asked:
            self._interactive.rank(caller, served)
            self._batch.rank(caller, served)

    def _least(self, otherwise: float) -> float:
        firsts = [first[0] for kind in (self._interactive, self._batch) if (first := kind.first()) is not None]
        return min(firsts, default=otherwise)

    def position(self, ticket: Ticket) -> int:
        """Its place in the order, from 1, if all callers are served alike."""
        if ticket.avoid:
            return self._again.index(ticket) + 1
        place = self._class(ticket).callers[ticket.claim.caller].index(ticket)
        return self._place(ticket.claim, place)

    def place_of_new(self, claim: Claim) -> int:
        """The place that a new call would have."""
        kind = self._batch if claim.is_batch else self._interactive
        return self._place(claim, len(kind.callers.get(claim.caller, ())))

    def _place(self, claim: Claim, before: int) -> int:
        kind = self._batch if claim.is_batch else self._interactive
        others = sum(
            min(len(tickets), before + 1) for caller, tickets in kind.callers.items() if caller != claim.caller
        )
        sooner = self._interactive.count if claim.is_batch else 0
        return len(self._again) + sooner + others + before + 1

    def _class(self, ticket: Ticket) -> _Class:
        return self._batch if ticket.claim.is_batch else self._interactive
