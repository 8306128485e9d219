"""Who makes a gateway's report and reads those of the others, and which gateways there are.

No gateway keeps anything for another one, and none is elected: each decides by what it hears. So it matters to know who
is there without being heard, and whether the list of gateways itself is known.
"""

from collections.abc import Callable, Mapping
from typing import Final, Protocol

import msgspec
from msgspec.structs import replace

from ai_gateway.balancing.report import Report, encode

# However often others ask, a report is made once in this time.
REMADE_SECONDS: Final = 0.2


class Presence(msgspec.Struct, frozen=True, kw_only=True):
    """The gateways of one Service at one moment, by their pods' uids; this one is among them.

    A gateway without a fresh report is silent: of an older release, out of reach, or starting.
    """

    own: str  # "" where the gateway was not told its uid
    is_known: bool  # whether these are all: no other gateway can be there that is not listed
    count: int  # how many there are, ready or not
    ready: frozenset[str] = frozenset()
    terminating: frozenset[str] = frozenset()  # they still have calls, and never lead
    fresh: frozenset[str] = frozenset()  # whose report is at most three intervals old; never this one

    @property
    def is_alone(self) -> bool:
        """Whether no other gateway is there. Never said where they are not known."""
        return self.is_known and self.count == 1


class Reporting(Protocol):
    """The part of the gateway that others hear of, and that acts on what they tell."""

    @property
    def is_busy(self) -> bool:
        """Whether calls run or wait, here or at others: then old reports cost time."""

    def make_report(self) -> Report:
        """What others should know now. Its `uid` is overridden with the gateway's own."""

    def take_reports(self, reports: Mapping[str, tuple[Report, float]], present: Presence) -> None:
        """The last readable report of each other gateway, by its uid, and when it came on the monotonic clock.

        Called one to four times a second, whether or not anything changed. Reports that are too old are among them: see
        `present.fresh`. Those of gateways that are gone are not.
        """


class OwnReport:
    """The bytes of a gateway's own report, made anew when they are asked for after a while."""

    def __init__(self, uid: str, reporting: Reporting, clock: Callable[[], float]) -> None:
        self._uid = uid
        self._reporting = reporting
        self._clock = clock
        self._made_at = 0.0
        self._body: bytes | None = None

    def body(self) -> bytes:
        """The report as JSON."""
        now = self._clock()
        if self._body is None or now - self._made_at >= REMADE_SECONDS:
            self._body = encode(replace(self._reporting.make_report(), uid=self._uid))
            self._made_at = now
        return self._body
