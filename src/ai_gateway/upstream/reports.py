"""Asks every other gateway for its report, and hands on what it hears and who is there.

While no call runs or waits anywhere, that is once a second; else up to four times, but no gateway asks more than eight
times a second. Slots are what the others leave, so old reports cost time where most slots are taken.

Gateways share no store, so a report may be missing at any time: the gateway is starting, of an older release, or out of
reach. Nothing waits for one. The last readable report stays, and its age tells what it is worth.
"""

import asyncio
import logging
import math
import random
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final, Literal, Protocol

import msgspec

from ai_gateway.balancing.report import BadReport, Report, decode
from ai_gateway.balancing.reporting import OwnReport, Presence, Reporting
from ai_gateway.cluster.members import Member
from ai_gateway.failure_log import FailureLog
from ai_gateway.upstream.asking import WHYS, Unheard, Why
from ai_gateway.wire.address import Address

log = logging.getLogger("ai_gateway.gateways")

EVERY_SECONDS: Final = 1.0
BUSY_SECONDS: Final = 0.25
JITTER: Final = 0.1
SHORTEST_PAUSE_SECONDS: Final = 0.05
MOST_A_SECOND: Final = 8  # questions; more gateways are asked less often
FRESH_INTERVALS: Final = 3  # so long a report counts as fresh

# fresh: heard of just now; silent: ready, and not heard of; unready: takes no calls, and not heard of.
State = Literal["fresh", "silent", "unready", "terminating"]
STATES: Final[tuple[State, ...]] = ("fresh", "silent", "unready", "terminating")


def pause_seconds(others: int) -> float:
    """From one round to the next while calls run or wait, where there are so many other gateways."""
    return min(EVERY_SECONDS, max(BUSY_SECONDS, others / MOST_A_SECOND))


class Known(Protocol):
    """The gateways that there are: see cluster.gateways.Gateways."""

    @property
    def own_uid(self) -> str:
        """Of this one."""

    @property
    def knows_itself(self) -> bool:
        """Whether the others are known."""

    def listed(self) -> Mapping[str, Member]:
        """All by uid."""

    def peers(self) -> Collection[Member]:
        """All but this one."""


class Asks(Protocol):
    """How another gateway is asked: see upstream.asking.Asking."""

    def keep(self, address: Address) -> None:
        """Its connection is kept."""

    def forget(self, address: Address) -> None:
        """No more."""

    async def ask(self, address: Address) -> bytes:
        """Its report. Raises Unheard."""


class Peer(msgspec.Struct):
    """What is known of another gateway. Changed by Reports; times are those of its clock."""

    member: Member
    address: Address
    turn: int = 0  # when it was asked last, as the number of that question
    report: Report | None = None  # the last readable one
    heard_at: float = -math.inf
    failures: int = 0
    missed_since: float | None = None  # when the first of the failures in a row was
    reason: str | None = None  # why the last question had no good answer
    logged: set[Why] = msgspec.field(default_factory=set)


class Reports:
    """The reports of all gateways. One task asks; `admin_port` is that of this gateway, and so of all."""

    def __init__(
        self, gateways: Known, asking: Asks, reporting: Reporting, clock: Callable[[], float], rng: random.Random
    ) -> None:
        self._gateways = gateways
        self._asking = asking
        self._reporting = reporting
        self._clock = clock
        self._random = rng
        self._unexpected = FailureLog(log)
        self._peers: dict[str, Peer] = {}
        self._turns = 0
        self.admin_port = 0  # 0: not known
        self.own = OwnReport(gateways.own_uid, reporting, clock)
        self.failures: dict[Why, int] = dict.fromkeys(WHYS, 0)

    async def run(self) -> None:
        """Asks until it is cancelled."""
        while True:
            began = self._clock()
            await self.ask_all()
            pause = self.pause_seconds * self._random.uniform(1 - JITTER, 1 + JITTER)
            await asyncio.sleep(max(SHORTEST_PAUSE_SECONDS, began + pause - self._clock()))

    async def ask_all(self) -> None:
        """One round: asks those that were asked longest ago, and hands on all that is known."""
        try:
            self._follow(self._gateways.peers())
            due = sorted(self._peers.values(), key=lambda peer: peer.turn)[:MOST_A_SECOND]
            await asyncio.gather(*map(self._ask, due))
            heard = {uid: (peer.report, peer.heard_at) for uid, peer in self._peers.items() if peer.report is not None}
            self._reporting.take_reports(heard, self.presence())
        except Exception as failure:  # a bug in one round must not end all later ones
            self._unexpected.note(failure, "a round of reports failed; the gateway asks again")

    def presence(self) -> Presence:
        """Who is there now."""
        own, listed = self._gateways.own_uid, self._gateways.listed()
        return Presence(
            own=own,
            is_known=self._gateways.knows_itself,
            count=len(listed) + (0 if own in listed else 1) if own else max(1, len(listed)),
            ready=frozenset(uid for uid, member in listed.items() if member.is_ready),
            terminating=frozenset(uid for uid, member in listed.items() if member.is_terminating),
            fresh=frozenset(uid for uid, peer in self._peers.items() if uid in listed and self._is_fresh(peer)),
        )

    def peers(self) -> Iterator[tuple[Peer, State, float | None]]:
        """Each other gateway, how it is, and the age of its last report in seconds, if there is one."""
        now = self._clock()
        for peer in self._peers.values():
            yield peer, self._state(peer), None if peer.report is None else now - peer.heard_at

    @property
    def pause_seconds(self) -> float:
        """From one round to the next."""
        return pause_seconds(len(self._peers)) if self._reporting.is_busy else EVERY_SECONDS

    @property
    def interval_seconds(self) -> float:
        """How often each gateway is asked at least."""
        return EVERY_SECONDS * max(1.0, len(self._peers) / MOST_A_SECOND)

    def _state(self, peer: Peer) -> State:
        if peer.member.is_terminating:
            return "terminating"
        if self._is_fresh(peer):
            return "fresh"
        return "silent" if peer.member.is_ready else "unready"

    def _is_fresh(self, peer: Peer) -> bool:
        return self._clock() - peer.heard_at <= FRESH_INTERVALS * self.interval_seconds

    def _follow(self, members: Collection[Member]) -> None:
        """Adds gateways that are new, and forgets those that are gone."""
        there = {member.uid: member for member in members}
        for uid in self._peers.keys() - there.keys():
            self._asking.forget(self._peers.pop(uid).address)
        for uid, member in there.items():
            address = Address(member.addresses[0], member.admin_port or self.admin_port, uid=uid)
            peer = self._peers.get(uid)
            if peer is None:
                self._peers[uid] = Peer(member, address)
                self._asking.keep(address)
                continue
            peer.member = member
            if peer.address != address:
                self._asking.forget(peer.address)
                self._asking.keep(address)
                peer.address = address

    async def _ask(self, peer: Peer) -> None:
        self._turns += 1
        peer.turn = self._turns
        try:
            report = await self._report_of(peer)
        except Unheard as failure:
            self._note(peer, failure)
        except Exception as failure:  # a bug with one gateway must not silence the others
            self._unexpected.note(failure, "asking the gateway at %s failed", peer.address.authority)
        else:
            peer.report, peer.heard_at, peer.reason, peer.missed_since = report, self._clock(), None, None

    async def _report_of(self, peer: Peer) -> Report:
        if not peer.address.port:
            raise Unheard("unreachable", "cannot be asked: its admin port is not known")
        try:
            report = decode(await self._asking.ask(peer.address))
        except BadReport as bad:
            raise Unheard("invalid", f"sends a report that {bad}") from None
        if report.uid != peer.member.uid:
            raise Unheard("invalid", f"sends the report of another gateway, {report.uid!r}")
        return report

    def _note(self, peer: Peer, failure: Unheard) -> None:
        peer.failures += 1
        if peer.missed_since is None:
            peer.missed_since = self._clock()
        peer.reason = str(failure)
        self.failures[failure.why] += 1
        # One that starts or leaves cannot answer for a moment, or does not know this gateway yet: that is no news.
        is_long = self._clock() - peer.missed_since >= (FRESH_INTERVALS - 1) * self.interval_seconds
        if peer.member.is_ready and is_long and failure.why not in peer.logged:
            peer.logged.add(failure.why)
            log.warning("the gateway at %s %s (logged once)", peer.address.authority, failure)
