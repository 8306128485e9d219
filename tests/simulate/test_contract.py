"""What a policy is told, and when: a policy that writes everything down, in worlds of a few calls."""

import itertools
from collections.abc import Callable, Sequence
from functools import partial

import pytest
from bench.simulate.contract import Call, Ending, Listed, Outside
from bench.simulate.simulation import Recipe, simulate
from bench.simulate.traffic import Trace
from bench.simulate.worlds import Crash
from tests.simulate.tiny import A, B, trace, turn

CALL = (turn(1500, 40),)


class Diary:
    """Does nothing of its own but to answer calls at once, on pod 0, if it `sends`."""

    def __init__(self, outside: Outside, sends: bool) -> None:
        self.outside = outside
        self.sends = sends
        self.lines: list[tuple[float, str, object]] = []
        self.seen: list[tuple[float, Sequence[Listed] | None]] = []

    def note(self, what: str, value: object) -> None:
        self.lines.append((round(self.outside.now, 3), what, value))

    def arrive(self, call: Call) -> None:
        self.note("arrive", call.number)
        if self.sends:
            self.outside.send(call, 0)

    def ended(self, call: Call, pod: int, ending: Ending) -> None:
        self.note("ended", ending)

    def left(self, call: Call) -> None:
        self.note("left", call.number)

    def saw(self, pod: int, listing: Sequence[Listed] | None) -> None:
        self.seen.append((round(self.outside.now, 3), listing))

    def report(self) -> object | None:
        return ("report of", self.outside.number, round(self.outside.now, 3))

    def heard(self, gateway: int, report: object) -> None:
        self.note("heard", (gateway, report))


def diaries_of(trace: Trace, plan: Callable[[Diary], None] | None = None, sends: bool = True) -> list[Diary]:
    """Runs a trace with a diary at each gateway; `plan` may have each do something first."""
    diaries: list[Diary] = []

    def recipe(outside: Outside, _: Trace) -> Diary:
        diary = Diary(outside, sends)
        diaries.append(diary)
        if plan is not None:
            plan(diary)
        return diary

    made: Recipe = recipe
    simulate(trace, made)
    return diaries


def test_a_call_ends_with_what_the_gateway_saw_of_it() -> None:
    (diary,) = diaries_of(trace((1.0, A, CALL), seconds=20.0))
    ((at, what, ending),) = diary.lines[1:]
    assert (at, what) == (13.0, "ended")
    assert isinstance(ending, Ending)
    assert (ending.outcome, ending.sent_at, ending.prompt_tokens, ending.answer_tokens) == ("answered", 1.0, 1500, 40)
    assert ending.first_at == pytest.approx(12.025)


def test_pods_are_polled_from_the_start_about_every_two_seconds() -> None:
    (diary,) = diaries_of(trace((0.0, A, CALL), seconds=100.0))
    times = [at for at, _ in diary.seen]
    assert times[0] == 0.0
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert 1.599 <= min(pauses) < max(pauses) <= 2.401


def test_a_poll_shows_a_loaded_model_with_its_expiry() -> None:
    (diary,) = diaries_of(trace((0.0, A, CALL), seconds=30.0))
    assert all(not listing for at, listing in diary.seen if at < 10.0)
    _, listing = diary.seen[-1]
    assert listing is not None
    assert [(one.name, one.digest, round(one.expires_at, 3)) for one in listing] == [("a", "digest-a", 312.0)]


def test_a_preload_is_done_when_the_model_is_loaded_and_takes_its_keep_alive() -> None:
    def plan(diary: Diary) -> None:
        diary.outside.preload(0, A, partial(diary.note, "loaded"), keep_alive_seconds=60.0)

    (diary,) = diaries_of(trace((50.0, A, CALL), seconds=100.0), plan, sends=False)
    assert diary.lines[0] == (10.0, "loaded", True)
    _, listing = next(seen for seen in diary.seen if seen[1])
    assert listing is not None
    assert listing[0].expires_at == pytest.approx(70.0)
    assert all(not listing for at, listing in diary.seen if at > 70.0)


def test_an_unload_is_answered_before_the_model_has_become_idle() -> None:
    def plan(diary: Diary) -> None:
        diary.outside.call_at(10.5, lambda: diary.outside.unload(0, A, partial(diary.note, "unloading")))
        diary.outside.call_at(10.5, lambda: diary.outside.look(0))
        diary.outside.call_at(12.5, lambda: diary.outside.look(0))

    (diary,) = diaries_of(trace((0.0, A, CALL), seconds=20.0), plan)
    assert (10.5, "unloading", True) in diary.lines
    looks = dict(diary.seen)
    assert looks[10.5]
    assert looks[12.5] == ()


def test_the_client_of_a_waiting_call_leaves_and_that_of_a_sent_one_ends_it() -> None:
    impatient = (turn(1500, 40, patience=5.0),)
    (waiting,) = diaries_of(trace((0.0, A, impatient), seconds=20.0), sends=False)
    assert waiting.lines[1:] == [(5.0, "left", 0)]
    (sent,) = diaries_of(trace((0.0, A, impatient), seconds=20.0))
    ((at, what, ending),) = sent.lines[1:]
    assert (at, what) == (5.0, "ended")
    assert isinstance(ending, Ending)
    assert (ending.outcome, ending.first_at, ending.answer_tokens) == ("left", None, 0)


def test_reports_reach_the_others_four_times_a_second() -> None:
    first, second = diaries_of(trace((0.0, A, CALL), seconds=10.0, gateways=2))
    heard = [value for _, what, value in second.lines if what == "heard"]
    assert 36 <= len(heard) <= 40
    assert all(isinstance(value, tuple) and value[0] == 0 for value in heard)
    assert all(what != "heard" or value != heard[0] for _, what, value in first.lines)


def test_a_crash_ends_calls_and_loads_and_polls_are_not_answered() -> None:
    def plan(diary: Diary) -> None:
        diary.outside.call_at(14.0, lambda: diary.outside.preload(0, B, partial(diary.note, "loaded")))
        diary.outside.call_at(21.0, lambda: diary.outside.preload(0, B, partial(diary.note, "refused")))

    crashed = trace((0.0, A, (turn(1500, 4000),)), (90.0, B, CALL), seconds=60.0, crashes=(Crash(0, 20.0, 10.0),))
    (diary,) = diaries_of(crashed, plan)
    outcomes = [(at, what, getattr(value, "outcome", value)) for at, what, value in diary.lines[1:]]
    assert outcomes == [(20.0, "ended", "failed"), (20.0, "loaded", False), (21.0, "refused", False)]
    assert all((listing is None) == (20.0 <= at < 30.0) for at, listing in diary.seen)
    assert diary.seen[-1][1] == ()
