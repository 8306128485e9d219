"""One run: a trace, a policy at each gateway, and a record of what became of each call."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from bench.simulate.contract import Call, Ending, Outcome, Outside, Policy
from bench.simulate.gateway import Gateway, Hands
from bench.simulate.pods import Job, Pod, letter_of
from bench.simulate.timeline import Timeline
from bench.simulate.traffic import Session, Trace

Recipe = Callable[[Outside, Trace], Policy]


@dataclass(slots=True, eq=False)
class Record:
    """What became of one call. Changed by the simulation. Times are None until that has happened."""

    call: Call
    gateway: int
    session: Session
    turn: int
    job: Job | None = None  # where it runs or waits now
    pod: int | None = None
    attempts: int = 0
    sent_at: float = 0.0
    first_at: float | None = None
    ended_at: float | None = None
    outcome: Outcome | None = None
    cached_tokens: int = 0
    was_above_slots: bool = False  # it was sent to a pod whose slots for its model were all taken

    @property
    def answer_tokens(self) -> int:
        """How long its answer will be."""
        return self.session.turns[self.turn].answer_tokens


@dataclass(frozen=True, slots=True)
class Run:
    """The result of one run."""

    trace: Trace
    records: Sequence[Record]
    loads: int


def simulate(trace: Trace, recipe: Recipe) -> Run:
    """Runs a trace under a policy, from the start to the world's last second."""
    simulation = Simulation(trace, recipe)
    simulation.timeline.run(trace.world.seconds)
    return Run(trace, simulation.records, sum(pod.loads for pod in simulation.pods))


class Simulation:
    """The clients, and what connects gateways and pods. Changed by its own events on the timeline."""

    def __init__(self, trace: Trace, recipe: Recipe) -> None:
        self.timeline = Timeline()
        self.records: list[Record] = []  # the call's number is the index
        self.pods = [Pod(number, trace, self.timeline) for number in range(trace.world.pods)]
        self.gateways = [
            Gateway(number, trace, self.pods, self.timeline, Hands(self._send, self._refuse))
            for number in range(trace.world.gateways)
        ]
        for gateway in self.gateways:
            gateway.policy = recipe(gateway, trace)
        for gateway in self.gateways:
            gateway.start([other for other in self.gateways if other is not gateway])
        for session in trace.sessions:
            self.timeline.at(session.begins_at, partial(self._arrive, session, 0, 0))
        for crash in trace.world.crashes:
            self.timeline.at(crash.at, self.pods[crash.pod].crash)
            self.timeline.at(crash.at + crash.seconds, self.pods[crash.pod].restart)

    def _arrive(self, session: Session, turn: int, said_tokens: int) -> None:
        """A call of a session; `said_tokens` were said before it."""
        now = self.timeline.now
        this = session.turns[turn]
        prompt_tokens = said_tokens + this.new_tokens
        call = Call(len(self.records), session.model, session.number, session.caller, prompt_tokens, now)
        gateway = self.gateways[int(this.luck * len(self.gateways))]
        self.records.append(Record(call, gateway.number, session, turn))
        if this.patience_seconds is not None:
            self.timeline.at(now + this.patience_seconds, partial(self._leave, call.number))
        gateway.policy.arrive(call)

    def _send(self, gateway: Gateway, call: Call, pod: int) -> None:
        record = self.records[call.number]
        target = self.pods[pod]
        assert record.job is None, "a call is at one pod at a time"
        assert record.outcome in (None, "failed"), "a call that is over is not sent again"
        letter = letter_of(call.conversation)
        job = Job(
            target.ticket(call.model, letter * call.prompt_tokens),
            call.prompt_tokens,
            record.answer_tokens,
            letter,
            first=partial(self._first, record),
            done=partial(self._done, record),
        )
        record.outcome = None
        record.job, record.pod, record.sent_at = job, pod, self.timeline.now
        record.attempts += 1
        if not target.is_up:
            self.timeline.at(self.timeline.now, partial(self._done, record, False))
            return
        record.was_above_slots |= target.demand(call.model) >= job.ticket.slots
        target.ask(job)

    def _refuse(self, call: Call) -> None:
        record = self.records[call.number]
        assert record.job is None, "a call that was sent is not refused"
        assert record.outcome in (None, "failed"), "a call that is over is not refused"
        self._end(record, "refused")

    def _first(self, record: Record) -> None:
        assert record.job is not None
        record.first_at = self.timeline.now
        record.cached_tokens = record.job.cached_tokens

    def _done(self, record: Record, is_whole: bool) -> None:
        """The pod has ended a call, or broken it."""
        if record.job is None:
            return  # its client has left in the same moment
        if is_whole:
            self._end(record, "answered")
            self._go_on(record)
        else:
            self._end(record, "failed")
        self._tell_ended(record)

    def _leave(self, number: int) -> None:
        """The patience of a client is over: it leaves if it has not seen a token, and ends its session."""
        record = self.records[number]
        if record.first_at is not None or record.outcome in ("answered", "left", "refused"):
            return
        job, pod = record.job, record.pod
        if job is None or pod is None:
            self._end(record, "left")
            self.gateways[record.gateway].policy.left(record.call)
            return
        self._end(record, "left")
        self.pods[pod].leave(job)
        self._tell_ended(record)

    def _end(self, record: Record, outcome: Outcome) -> None:
        record.job = None
        record.outcome = outcome
        record.ended_at = self.timeline.now

    def _tell_ended(self, record: Record) -> None:
        assert record.pod is not None
        assert record.outcome is not None
        call = record.call
        tokens = record.answer_tokens if record.outcome == "answered" else 0
        ending = Ending(record.outcome, record.sent_at, record.first_at, call.prompt_tokens, tokens)
        self.gateways[record.gateway].policy.ended(call, record.pod, ending)

    def _go_on(self, record: Record) -> None:
        """The client reads and thinks, then asks again."""
        following = record.turn + 1
        if following < len(record.session.turns):
            think = record.session.turns[following].think_seconds
            said = record.call.prompt_tokens + record.answer_tokens
            self.timeline.at(self.timeline.now + think, partial(self._arrive, record.session, following, said))
