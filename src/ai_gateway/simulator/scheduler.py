"""Ollama's scheduler as a state machine without a clock of its own: loaded models, running and waiting requests.

Source: server/sched.go (see the notes of each method). Every method that may start requests returns those
requests; the caller wakes them. `next_deadline` says when `advance` has to be called again.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ai_gateway.simulator.prompt_cache import Slot, choose_slot
from ai_gateway.simulator.refusals import Busy
from ai_gateway.simulator.runner import LISTED_LOADED, Runner, Ticket, expiry


@dataclass(frozen=True, slots=True)
class Limits:
    """Ollama's own settings: OLLAMA_MAX_LOADED_MODELS, _MAX_QUEUE, _KEEP_ALIVE (seconds), and memory in bytes."""

    max_loaded: int
    max_queue: int
    keep_alive: float
    memory_bytes: int = 0  # 0 is without limit
    listed_after: float = LISTED_LOADED  # the share of its load after which calls may join a model


class Scheduler:
    """Changed by every call; its endpoint calls it, from one thread."""

    def __init__(self, limits: Limits, now: Callable[[], float]) -> None:
        self._limits = limits
        self._now = now
        self.runners: dict[str, Runner] = {}  # by weights; the loading one included
        self.pending: deque[Ticket] = deque()  # for a load; not bounded by slots but by max_queue
        self.loading: Runner | None = None
        self.loads = 0
        self.aborted_loads = 0
        self.evictions = 0
        self.unloads = 0
        self._victim: Runner | None = None  # busy, and to be unloaded before the first pending one can load

    def ask(self, ticket: Ticket) -> list[Ticket]:
        """Adds a request. A loaded model takes it without limit; else it is pending. Raises `Busy`."""
        runner = self.runners.get(ticket.weights)
        if runner is not None and runner.takes(ticket, self._now()):
            return self._join(runner, ticket)
        if len(self.pending) >= self._limits.max_queue:
            raise Busy
        self.pending.append(ticket)
        return self.advance()

    def is_warm(self, ticket: Ticket) -> bool:
        """Whether a request would find its runner loaded."""
        runner = self.runners.get(ticket.weights)
        return runner is not None and runner.is_loaded and runner.context_length == ticket.context_length

    def leave(self, ticket: Ticket) -> list[Ticket]:
        """Removes a request that ended or whose client disconnected. That aborts a load that it started."""
        runner = ticket.runner
        if runner is None:
            if ticket in self.pending:
                self.pending.remove(ticket)
                self._victim = None
            return self.advance()
        if ticket in runner.running:
            self._free(runner, ticket)
        elif ticket in runner.waiting:
            runner.waiting.remove(ticket)
        if runner is self.loading and ticket is runner.starter:
            return self._abort(runner)
        granted = self._fill(runner)
        if runner.is_idle and self.runners.get(runner.weights) is runner:
            runner.idle_at = self._now()
            runner.expires_at = expiry(runner.idle_at, runner.keep_alive)
        return granted + self.advance()

    def unload(self, weights: str) -> list[Ticket]:
        """Unloads a model now, or after its last request, for `keep_alive: 0` without a prompt."""
        runner = self.runners.get(weights)
        if runner is not None:
            self._expire_soon(runner)
        return self.advance()

    def advance(self) -> list[Ticket]:
        """Does what is due now: ends a load, unloads expired idle runners, starts the next load."""
        now = self._now()
        granted: list[Ticket] = []
        if self.loading is not None and self.loading.load_ends_at <= now:
            runner, self.loading = self.loading, None
            runner.is_loaded = True
            granted += self._fill(runner)
        for runner in list(self.runners.values()):
            if runner.is_idle and runner.expires_at is not None and runner.expires_at <= now:
                self._unload(runner)
        while self.pending and self.loading is None and self._victim is None:
            granted += self._serve_first()
        return granted

    def next_deadline(self) -> float | None:
        """When something is due next; None if nothing is."""
        times = [r.expires_at for r in self.runners.values() if r.is_idle and r.expires_at is not None]
        if self.loading is not None:
            times.append(self.loading.load_ends_at)
        soonest = min(times, default=math.inf)
        return None if math.isinf(soonest) else soonest

    def listed(self) -> list[Runner]:
        """The runners in /api/ps, the latest expiry first."""
        now = self._now()
        shown = [runner for runner in self.runners.values() if runner.is_listed(now)]
        return sorted(shown, key=lambda runner: runner.shown_expiry(now), reverse=True)

    def _serve_first(self) -> list[Ticket]:
        """One round of Ollama's scheduler loop: join, evict, wait for a victim, or start the load."""
        ticket = self.pending[0]
        runner = self.runners.get(ticket.weights)
        if runner is not None and runner.takes(ticket, self._now()):
            self.pending.popleft()
            return self._join(runner, ticket)
        victim = runner if runner is not None else self._choose_victim(ticket)
        if victim is None:
            self.pending.popleft()
            self._load(ticket)
            return []
        self.evictions += 1
        if not self._expire_soon(victim):
            self._victim = victim
        return []

    def _choose_victim(self, ticket: Ticket) -> Runner | None:
        """Shortest keep-alive first, then path order; the first idle one, else the first. None if there is room."""
        used = sum(runner.size_bytes for runner in self.runners.values())
        limit = self._limits.memory_bytes
        fits = not limit or used + ticket.size_bytes <= limit
        if not self.runners or (len(self.runners) < self._limits.max_loaded and fits):
            return None
        ordered = sorted(self.runners.values(), key=lambda runner: (runner.keep_alive, runner.weights))
        return next((runner for runner in ordered if runner.is_idle), ordered[0])

    def _expire_soon(self, runner: Runner) -> bool:
        """Unloads an idle runner; a busy one when it becomes idle. True if it is gone."""
        runner.keep_alive = 0.0
        if runner.is_idle:
            self._unload(runner)
            return True
        return False

    def _unload(self, runner: Runner) -> None:
        del self.runners[runner.weights]
        self._victim = None
        self.unloads += 1

    def _load(self, ticket: Ticket) -> None:
        now = self._now()
        keep_alive = ticket.keep_alive if ticket.keep_alive is not None else self._limits.keep_alive
        runner = Runner(
            name=ticket.name,
            weights=ticket.weights,
            size_bytes=ticket.size_bytes,
            context_length=ticket.context_length,
            keep_alive=keep_alive,
            load_started_at=now,
            load_ends_at=now + ticket.load_seconds,
            starter=ticket,
            slots=[Slot() for _ in range(ticket.slots)],
            listed_after=self._limits.listed_after,
        )
        self.loads += 1
        self.runners[runner.weights] = runner
        self.loading = runner
        ticket.runner = runner
        runner.waiting.append(ticket)

    def _abort(self, runner: Runner) -> list[Ticket]:
        """Aborts a load whose client disconnected: the others that waited for it are queued again."""
        self.loading = None
        self.aborted_loads += 1
        del self.runners[runner.weights]
        for ticket in reversed(runner.waiting):
            ticket.runner = None
            self.pending.appendleft(ticket)
        return self.advance()

    def _join(self, runner: Runner, ticket: Ticket) -> list[Ticket]:
        if ticket.keep_alive is not None:
            runner.keep_alive = ticket.keep_alive
        ticket.runner = runner
        runner.waiting.append(ticket)
        return self._fill(runner)

    def _fill(self, runner: Runner) -> list[Ticket]:
        """Gives free slots to waiting requests, first come first served."""
        granted: list[Ticket] = []
        while runner.is_loaded and runner.waiting:
            choice = choose_slot(runner.slots, runner.waiting[0].prompt)
            if choice is None:
                break
            ticket = runner.waiting.popleft()
            ticket.slot, ticket.cached_characters = choice
            ticket.slot.is_busy = True
            runner.running.add(ticket)
            granted.append(ticket)
        return granted

    def _free(self, runner: Runner, ticket: Ticket) -> None:
        runner.running.discard(ticket)
        if ticket.slot is not None:
            ticket.slot.is_busy = False
            ticket.slot.used_at = self._now()
            if ticket.prompt:  # an empty call only loads, and leaves the cache as it is
                ticket.slot.text = ticket.prompt
