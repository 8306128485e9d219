"""One pod: the scheduler of the product's simulated Ollama, and the speed that its running calls share."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

from ai_gateway.simulator.runner import LISTED_AFTER, LISTED_LOADED, Runner, Ticket
from ai_gateway.simulator.scheduler import Limits, Scheduler
from bench.simulate.contract import Listed, Model
from bench.simulate.sharing import Sharing
from bench.simulate.timeline import Timeline
from bench.simulate.traffic import Trace

CONTEXT_LENGTH: Final = 32768
NO_LIMIT: Final = 1 << 62
FIRST_LETTER: Final = 0x4E00  # a conversation's text is one letter, its own, so often as it has tokens
LETTERS: Final = 20_000

Step = Literal["first", "last"]


@dataclass(slots=True, eq=False)
class Job:
    """One call, or an empty one, on its way through a pod. Changed by the pod alone."""

    ticket: Ticket
    prompt_tokens: int
    answer_tokens: int
    letter: str  # empty for an empty call, which only loads
    first: Callable[[], None]
    done: Callable[[bool], None]  # whether it is whole
    cached_tokens: int = 0
    is_running: bool = False
    is_over: bool = False


def letter_of(conversation: int) -> str:
    """The letter whose repetition stands for the text of a conversation: two conversations have no common prefix."""
    return chr(FIRST_LETTER + conversation % LETTERS)


class Pod:
    """Changed by gateways (ask, leave, unload), by crashes, and by its own events on the timeline."""

    def __init__(self, number: int, trace: Trace, timeline: Timeline) -> None:
        self.number = number
        self.is_up = True
        self._trace = trace
        self._timeline = timeline
        self._load_counts: dict[str, int] = {}
        self._seen_loading: Runner | None = None
        world = trace.world
        is_slow = number >= world.pods - world.slow_pods
        self._sharing = Sharing[tuple[Job, Step]](1.0 / world.slowness if is_slow else 1.0, world.crowding)
        self._armed = math.inf
        self._generation = 0
        self._jobs: set[Job] = set()
        self._by_ticket: dict[Ticket, Job] = {}
        self.past_loads = 0  # of the schedulers before the last restart
        self.scheduler = self._new_scheduler()
        if world.is_loaded:
            self._load_all()

    @property
    def loads(self) -> int:
        """How many loads it has begun."""
        return self.past_loads + self.scheduler.loads

    def ask(self, job: Job) -> None:
        """Begins a job, at once or when the scheduler lets it."""
        self._jobs.add(job)
        self._by_ticket[job.ticket] = job
        self._start(self.scheduler.ask(job.ticket))
        self._arm()

    def leave(self, job: Job) -> None:
        """Ends a job whose client has left; nothing is called for it any more."""
        if not job.is_over:
            self._end(job)
            self._arm()

    def unload(self, model: Model) -> None:
        """Unloads a model as soon as it is idle."""
        self._start(self.scheduler.unload(model.digest))
        self._arm()

    def listing(self) -> tuple[Listed, ...]:
        """What `/api/ps` answers."""
        now = self._timeline.now
        return tuple(
            Listed(runner.name, runner.weights, runner.size_bytes, runner.shown_expiry(now), runner.context_length)
            for runner in self.scheduler.listed()
        )

    def demand(self, model: Model) -> int:
        """How many calls for a model run or wait here."""
        return sum(job.ticket.weights == model.digest for job in self._jobs)

    def ticket(self, model: Model, prompt: str, keep_alive: float | None = None) -> Ticket:
        """A demand on the scheduler. The time that the model's next load here takes is drawn with it."""
        count = self._load_counts.get(model.name, 0)
        world = self._trace.world
        return Ticket(
            name=model.name,
            weights=model.digest,
            size_bytes=model.size_bytes,
            slots=min(world.slots, model.own_slots or world.slots),
            load_seconds=self._trace.load_seconds(self.number, model, count),
            context_length=CONTEXT_LENGTH,
            keep_alive=keep_alive,
            prompt=prompt,
        )

    def crash(self) -> None:
        """Ends all that it does; its jobs are not whole."""
        now = self._timeline.now
        jobs = sorted(self._jobs, key=lambda job: (not job.is_running, job.prompt_tokens))
        self.is_up = False
        self._sharing.clear(now)
        self._jobs.clear()
        self._by_ticket.clear()
        self.past_loads += self.scheduler.loads
        self.scheduler = self._new_scheduler()
        self._arm()
        for job in jobs:
            job.is_over = True
            job.done(False)

    def restart(self) -> None:
        """It is back, with nothing loaded."""
        self.is_up = True

    def _new_scheduler(self) -> Scheduler:
        world = self._trace.world
        listed_after = LISTED_AFTER if world.era == "0.24" else LISTED_LOADED
        keep_alive = math.inf if world.is_loaded else world.keep_alive_seconds
        limits = Limits(world.places, NO_LIMIT, keep_alive, listed_after=listed_after)
        return Scheduler(limits, lambda: self._timeline.now)

    def _load_all(self) -> None:
        for model in self._trace.models:
            ticket = self.ticket(model, "")
            ticket.load_seconds = 0.0
            self.scheduler.ask(ticket)
            self.scheduler.advance()
            self.scheduler.leave(ticket)
        self.past_loads = -self.scheduler.loads

    def _start(self, tickets: Sequence[Ticket]) -> None:
        """Lets jobs run that the scheduler has granted a slot; an empty one is over at once."""
        now = self._timeline.now
        world = self._trace.world
        for ticket in tickets:
            job = self._by_ticket[ticket]
            job.is_running = True
            job.cached_tokens = ticket.cached_characters
            prefill = max(0, job.prompt_tokens - job.cached_tokens) / world.prefill_tokens_per_second
            first = prefill + min(1, job.answer_tokens) / world.tokens_per_second
            last = prefill + job.answer_tokens / world.tokens_per_second
            self._sharing.enter(now, ((first, (job, "first")), (last, (job, "last"))))

    def _end(self, job: Job) -> None:
        now = self._timeline.now
        job.is_over = True
        self._jobs.discard(job)
        self._by_ticket.pop(job.ticket)
        if job.is_running:
            self._sharing.leave(now)
        job.ticket.prompt += job.letter * job.answer_tokens
        self._start(self.scheduler.leave(job.ticket))

    def _arm(self) -> None:
        self._count_load()
        deadline = self.scheduler.next_deadline()
        time = min(math.inf if deadline is None else deadline, self._sharing.next_time())
        if time != self._armed:
            self._armed = time
            self._generation += 1
            if time < math.inf:
                self._timeline.at(time, partial(self._tick, self._generation))

    def _count_load(self) -> None:
        """Notes that a load has begun since the last look, so that the next one of that model takes another time."""
        loading = self.scheduler.loading
        if loading is not None and loading is not self._seen_loading:
            self._load_counts[loading.name] = self._load_counts.get(loading.name, 0) + 1
        self._seen_loading = loading

    def _tick(self, generation: int) -> None:
        """Does what is due, and tells of it when the pod's state is whole again."""
        if generation != self._generation:
            return
        self._armed = math.inf
        self._start(self.scheduler.advance())
        tell: list[Callable[[], None]] = []
        for job, step in self._sharing.reached(self._timeline.now):
            if job.is_over:
                continue
            if step == "first":
                tell.append(job.first)
            else:
                self._end(job)
                tell.append(partial(job.done, True))
        self._arm()
        for action in tell:
            action()
