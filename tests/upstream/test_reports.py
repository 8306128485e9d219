"""Every other gateway is asked one to four times a second; what it tells is believed only if it can be its report."""

import asyncio
import logging
import random
from collections.abc import Mapping

import pytest
from tests.balancing.reports import some_report
from tests.upstream.scripted import until

from ai_gateway.balancing.report import Report, encode
from ai_gateway.balancing.reporting import Presence
from ai_gateway.cluster.members import Member
from ai_gateway.upstream.asking import Unheard, Why
from ai_gateway.upstream.reports import Reports
from ai_gateway.wire.address import Address

ADMIN = 9090


class Gateways:
    """Gateways that a test lists. `knows_itself` may be changed."""

    def __init__(self, *uids: str) -> None:
        self.own_uid = "me"
        self.knows_itself = True
        self.all: dict[str, Member] = {}
        for uid in ("me", *uids):
            self.put(uid)

    def put(self, uid: str, *, is_ready: bool = True, is_terminating: bool = False, port: int | None = None) -> None:
        """Adds one or changes it."""
        self.all[uid] = Member(uid, (f"10.0.0.{len(uid)}-{uid}",), port, is_ready, is_terminating)

    def listed(self) -> Mapping[str, Member]:
        """See Known."""
        return self.all

    def peers(self) -> list[Member]:
        """See Known."""
        return [member for uid, member in self.all.items() if uid != self.own_uid]


class Answers:
    """What each gateway says, by uid: bytes, or a failure; a usual report where nothing is said."""

    def __init__(self) -> None:
        self.says: dict[str, bytes | Exception] = {}
        self.asked: list[str] = []
        self.addresses: list[str] = []
        self.kept: list[Address] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    def keep(self, address: Address) -> None:
        """See Asks."""
        self.kept.append(address)

    def forget(self, address: Address) -> None:
        """See Asks."""
        self.kept.remove(address)

    async def ask(self, address: Address) -> bytes:
        """See Asks."""
        self.asked.append(address.uid)
        self.addresses.append(address.authority)
        await self.may_answer.wait()
        said = self.says.get(address.uid, encode(some_report(address.uid)))
        if isinstance(said, Exception):
            raise said
        return said


class Taking:
    """Keeps what it is given, and tells nothing."""

    def __init__(self) -> None:
        self.reports: Mapping[str, tuple[Report, float]] = {}
        self.present = Presence(own="", is_known=False, count=0)
        self.taken = 0
        self.failure: Exception | None = None
        self.is_busy = False

    def make_report(self) -> Report:
        """See Reporting."""
        return Report(uid="")

    def take_reports(self, reports: Mapping[str, tuple[Report, float]], present: Presence) -> None:
        """See Reporting."""
        self.taken += 1
        if self.failure is not None:
            raise self.failure
        self.reports, self.present = reports, present


class World:
    """Reports over all of these, at a time that the test sets."""

    def __init__(self, *uids: str) -> None:
        self.now = 1000.0
        self.gateways = Gateways(*uids)
        self.answers = Answers()
        self.taking = Taking()
        self.reports = Reports(self.gateways, self.answers, self.taking, lambda: self.now, random.Random(1))
        self.reports.admin_port = ADMIN

    async def rounds(self, count: int = 1) -> None:
        """So many rounds, a second apart."""
        for _ in range(count):
            self.now += 1.0
            await self.reports.ask_all()

    @property
    def states(self) -> dict[str, str]:
        """Of the others, by uid."""
        return {peer.member.uid: state for peer, state, _ in self.reports.peers()}


async def test_every_other_gateway_is_heard() -> None:
    """At the gateway's own admin port, unless the Service lists another one."""
    world = World("a", "b")
    world.gateways.put("c", port=9191)
    await world.rounds()
    assert world.taking.reports == {uid: (some_report(uid), 1001.0) for uid in ("a", "b", "c")}
    assert world.taking.present.fresh == {"a", "b", "c"}
    assert {address.rpartition(":")[2] for address in world.answers.addresses[:2]} == {str(ADMIN)}
    assert world.answers.addresses[2].endswith(":9191")


async def test_presence_tells_who_is_there() -> None:
    """Also those that are not ready, and those that leave."""
    world = World("a")
    world.gateways.put("b", is_ready=False)
    world.gateways.put("c", is_ready=False, is_terminating=True)
    world.answers.says["b"] = Unheard("unreachable", "does not answer")
    await world.rounds()
    assert world.taking.present == Presence(
        own="me",
        is_known=True,
        count=4,
        ready=frozenset({"me", "a"}),
        terminating=frozenset({"c"}),
        fresh=frozenset({"a", "c"}),
    )
    assert world.states == {"a": "fresh", "b": "unready", "c": "terminating"}


async def test_a_gateway_that_nobody_lists_counts_itself() -> None:
    world = World()
    world.gateways.all.clear()
    await world.rounds()
    assert (world.taking.present.count, world.taking.present.is_alone) == (1, True)
    world.gateways.put("a")
    assert world.reports.presence().count == 2


async def test_one_that_does_not_know_the_others_is_never_alone() -> None:
    world = World()
    world.gateways.knows_itself = False
    await world.rounds()
    assert not world.taking.present.is_alone
    world.gateways.own_uid = ""
    assert world.reports.presence().count == 1


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (Unheard("refused", "answers 404"), "refused"),
        (Unheard("unreachable", "does not answer within 1 s"), "unreachable"),
        (b"nonsense", "invalid"),
        (encode(some_report("b")), "invalid"),
        (encode(some_report("me")), "invalid"),
        (encode(some_report("stranger")), "invalid"),
    ],
    ids=str,
)
async def test_one_without_a_good_report_is_ready_and_silent(
    said: bytes | Exception, why: Why, caplog: pytest.LogCaptureFixture
) -> None:
    """An older release, or one that claims to be another: counted, and logged once."""
    caplog.set_level(logging.WARNING)
    world = World("a", "b")
    world.answers.says["a"] = said
    await world.rounds(3)
    assert "a" not in world.taking.reports
    assert world.taking.present.ready == {"me", "a", "b"}
    assert world.taking.present.fresh == {"b"}
    assert world.states == {"a": "silent", "b": "fresh"}
    assert world.reports.failures[why] == 3
    assert len(caplog.records) == 1


async def test_the_last_good_report_stays_and_ages_out() -> None:
    """It counts as fresh for three intervals."""
    world = World("a")
    await world.rounds()
    world.answers.says["a"] = b"nonsense"
    await world.rounds(3)
    assert world.taking.present.fresh == {"a"}
    await world.rounds()
    assert world.taking.present.fresh == frozenset()
    assert world.taking.reports == {"a": (some_report("a"), 1001.0)}
    (peer, _, age) = next(world.reports.peers())
    assert (age, peer.failures) == (4.0, 4)
    del world.answers.says["a"]
    await world.rounds()
    assert world.states == {"a": "fresh"}
    assert peer.reason is None


async def test_one_that_is_gone_is_forgotten_with_its_report_and_its_connection() -> None:
    world = World("a", "b")
    await world.rounds()
    assert len(world.answers.kept) == 2
    del world.gateways.all["a"]
    assert world.reports.presence().fresh == {"b"}
    await world.rounds()
    assert set(world.taking.reports) == {"b"}
    assert [address.uid for address in world.answers.kept] == ["b"]


async def test_one_that_moves_to_another_port_is_asked_there() -> None:
    world = World("a")
    await world.rounds()
    world.gateways.put("a", port=9191)
    await world.rounds()
    assert [address.port for address in world.answers.kept] == [9191]
    assert world.answers.addresses[-1].endswith(":9191")


async def test_one_that_leaves_is_asked_until_it_is_gone() -> None:
    world = World("a")
    world.gateways.put("a", is_ready=False, is_terminating=True)
    await world.rounds(2)
    assert world.answers.asked == ["a", "a"]
    assert "a" in world.taking.reports


@pytest.mark.parametrize("is_terminating", [False, True])
async def test_the_log_is_quiet_about_one_that_starts_or_leaves(
    is_terminating: bool, caplog: pytest.LogCaptureFixture
) -> None:
    world = World()
    world.gateways.put("a", is_ready=False, is_terminating=is_terminating)
    world.answers.says["a"] = Unheard("unreachable", "does not answer")
    await world.rounds(5)
    assert (world.reports.failures["unreachable"], caplog.records) == (5, [])


async def test_the_log_is_quiet_about_one_that_misses_a_question_or_two(caplog: pytest.LogCaptureFixture) -> None:
    """Such as one that does not know a new gateway yet."""
    world = World("a")
    for _ in range(3):
        world.answers.says["a"] = Unheard("refused", "answers 403")
        await world.rounds(2)
        del world.answers.says["a"]
        await world.rounds()
    assert (world.reports.failures["refused"], caplog.records) == (6, [])


async def test_of_many_gateways_eight_are_asked_in_a_second_each_in_its_turn() -> None:
    """Then a report is fresh for longer."""
    world = World(*(f"gateway-{number}" for number in range(20)))
    await world.rounds()
    assert len(world.answers.asked) == 8
    await world.rounds(4)
    assert len(world.answers.asked) == 40
    assert {world.answers.asked.count(uid) for uid in set(world.answers.asked)} == {2}
    assert world.reports.interval_seconds == 2.5
    assert len(world.taking.present.fresh) == 20


@pytest.mark.parametrize(("others", "seconds"), [(1, 0.25), (2, 0.25), (4, 0.5), (7, 0.875), (8, 1.0), (20, 1.0)])
async def test_while_calls_run_it_asks_more_often_but_eight_times_a_second_at_most(others: int, seconds: float) -> None:
    """Where nothing runs, once a second. How long a report counts as fresh does not change."""
    world = World(*(f"gateway-{number}" for number in range(others)))
    await world.rounds()
    interval = world.reports.interval_seconds
    assert world.reports.pause_seconds == 1.0
    world.taking.is_busy = True
    assert world.reports.pause_seconds == seconds
    assert world.reports.interval_seconds == interval >= 1.0


async def test_the_log_waits_as_long_for_one_that_is_asked_often(caplog: pytest.LogCaptureFixture) -> None:
    """Four questions without an answer within a second are no news."""
    world = World("a")
    world.answers.says["a"] = Unheard("unreachable", "does not answer")
    for _ in range(8):
        world.now += 0.25
        await world.reports.ask_all()
    assert (world.reports.failures["unreachable"], caplog.records) == (8, [])
    await world.rounds()
    assert len(caplog.records) == 1


async def test_without_a_known_admin_port_nobody_is_asked() -> None:
    world = World("a")
    world.reports.admin_port = 0
    await world.rounds()
    assert (world.answers.asked, world.states) == ([], {"a": "silent"})


@pytest.mark.parametrize("breaks", ["asking", "taking"])
async def test_a_bug_in_one_round_does_not_end_the_next(breaks: str, caplog: pytest.LogCaptureFixture) -> None:
    """A bug with one gateway silences no other one."""
    world = World("a", "b")
    if breaks == "asking":
        world.answers.says["a"] = RuntimeError("a bug")
    else:
        world.taking.failure = RuntimeError("a bug")
    await world.rounds(2)
    assert len(caplog.records) == 1
    assert set(world.taking.reports) == ({"b"} if breaks == "asking" else set())
    world.answers.says.clear()
    world.taking.failure = None
    await world.rounds()
    assert set(world.taking.reports) == {"a", "b"}


async def test_it_asks_round_after_round_until_it_is_cancelled() -> None:
    """A gateway that hangs holds up no round for longer than its timeout, which the question has."""
    world = World("a")
    world.answers.may_answer.clear()
    task = asyncio.create_task(world.reports.run())
    await until(lambda: world.answers.asked)
    assert world.taking.taken == 0
    world.answers.may_answer.set()
    await until(lambda: world.taking.taken)
    task.cancel()
    assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], asyncio.CancelledError)
