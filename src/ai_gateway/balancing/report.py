"""What one gateway tells the others about itself, again and again: its calls, what waits, its loads.

Pure: values in, bytes out, and back. A report comes from another process, perhaps of another release, so nothing in it
is believed as it stands: numbers are brought into their ranges, and what cannot be read is refused as a whole. Fields
that this release does not know are ignored. Whether endpoints and models exist, the reader of a report decides.
"""

import heapq
import math
from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Final, Literal, get_args

import msgspec
from msgspec.structs import replace

from ai_gateway.balancing.rollout import STATES, Rollout
from ai_gateway.wire.unreadable import UNREADABLE

FORMAT: Final = 1  # a greater number is read for the fields known here
MOST_BYTES: Final = 64 << 10
MOST_CALLS: Final = 4096  # of one runner
MOST_WAITING: Final = 1 << 20  # of one model
MOST_RATE: Final = 10_000.0
MOST_CALLERS: Final = 200
MOST_TOKENS: Final = 1 << 53
MOST_SECONDS: Final = 86_400.0
MOST_ROLLOUTS: Final = 100
MOST_REASON: Final = 300
MOST_PLACES: Final = 100  # where one goes on
MOST_ENDPOINTS: Final = 1 << 20  # of one rollout

Phase = Literal["reserved", "unloading", "loading"]
PHASES: Final[tuple[Phase, ...]] = get_args(Phase)

# Longer texts are refused: no address, runner, model and hash that a gateway writes is so long.
_Endpoint = Annotated[str, msgspec.Meta(max_length=300)]
_Runner = Annotated[str, msgspec.Meta(max_length=160)]
_Model = Annotated[str, msgspec.Meta(max_length=512)]
_Name = Annotated[str, msgspec.Meta(max_length=128)]


class Load(msgspec.Struct, frozen=True, omit_defaults=True):
    """A model that an endpoint is being made ready for: HOST:PORT, an opaque key, Ollama's name, seconds."""

    endpoint: str
    runner: str
    model: str
    phase: Phase
    age: float


class Report(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One gateway at one moment. It names only what is not zero."""

    format: int = FORMAT
    uid: str
    leads: bool = False  # it decides on loads now
    may_lead: bool = False  # its config is valid, it is not terminating, and it may load models
    in_flight: dict[str, dict[str, int]] = {}  # endpoint -> runner -> its own calls
    waiting: dict[str, tuple[int, float]] = {}  # model -> how many wait, and for how many seconds the first
    rates: dict[str, float] = {}  # model -> calls that arrive there per second
    tokens: dict[str, int] = {}  # keyed hash of a caller -> tokens served
    key: str = ""  # of that hash, in hex; the leader draws it
    loads: tuple[Load, ...] = ()
    config: str = ""  # the hash of its config
    rollouts: dict[str, Rollout] = {}  # by key, of the one that writes
    everywhere: tuple[str, ...] = ()  # keys of models that are to be on all endpoints that match


class BadReport(Exception):
    """What came is not a report; the text is the reason."""


class _SentLoad(msgspec.Struct):
    endpoint: _Endpoint
    runner: _Runner
    model: _Model
    phase: str  # a later release may have more of them
    age: float


class _SentRollout(msgspec.Struct):
    state: str
    done: int = 0
    total: int = 0
    progress: float | None = None
    seconds_left: float | None = None
    reason: str | None = None
    at: list[_Endpoint] = []
    is_waited_for: bool = False
    failed: int = 0


class _Sent(msgspec.Struct):
    uid: _Name
    format: Annotated[int, msgspec.Meta(ge=1)] = FORMAT
    leads: bool = False
    may_lead: bool = False
    in_flight: dict[_Endpoint, dict[_Runner, int]] = {}
    waiting: dict[_Model, tuple[int, float]] = {}
    rates: dict[_Model, float] = {}
    tokens: dict[_Name, int] = {}
    key: _Name = ""
    loads: list[_SentLoad] = []
    config: _Name = ""
    rollouts: dict[_Model, _SentRollout] = {}
    everywhere: list[_Model] = []


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Sent).decode


def encode(report: Report) -> bytes:
    """The report as JSON, of MOST_BYTES at most: where it is longer, what matters least is left out."""
    report = clamped(report)
    body = _encode(report)
    for shorter in _shorter(report):
        if len(body) <= MOST_BYTES:
            break
        body = _encode(shorter)
    return body


def decode(body: bytes) -> Report:
    """What another gateway tells, in possible values. Raises BadReport."""
    if len(body) > MOST_BYTES:
        raise BadReport(f"is larger than {MOST_BYTES} bytes")
    try:
        if not body.isascii():
            body.decode()  # the decoder does not check the values that it skips
        sent = _decode(body)
    except UNREADABLE as error:
        raise BadReport(f"cannot be read: {str(error)[:200]}") from None
    return clamped(
        Report(
            format=sent.format,
            uid=sent.uid,
            leads=sent.leads,
            may_lead=sent.may_lead,
            in_flight=sent.in_flight,
            waiting=sent.waiting,
            rates=sent.rates,
            tokens=sent.tokens,
            key=sent.key,
            loads=tuple(_known(sent.loads)),
            config=sent.config,
            rollouts=dict(_known_rollouts(sent.rollouts)),
            everywhere=tuple(sent.everywhere),
        )
    )


def clamped(report: Report) -> Report:
    """The same with every number in its range, without zeros, and with the MOST_CALLERS that have the most tokens."""
    calls = {endpoint: _counts(runners, MOST_CALLS) for endpoint, runners in report.in_flight.items()}
    waiting = {model: (min(count, MOST_WAITING), _age(age)) for model, (count, age) in report.waiting.items()}
    tokens = _counts(report.tokens, MOST_TOKENS)
    if len(tokens) > MOST_CALLERS:
        tokens = dict(heapq.nlargest(MOST_CALLERS, tokens.items(), key=lambda item: item[1]))
    return replace(
        report,
        in_flight={endpoint: runners for endpoint, runners in calls.items() if runners},
        waiting={model: (count, age) for model, (count, age) in waiting.items() if count > 0},
        rates={model: min(rate, MOST_RATE) for model, rate in report.rates.items() if rate > 0.0},
        tokens=tokens,
        loads=tuple(replace(load, age=_age(load.age)) for load in report.loads),
        rollouts=dict(islice(report.rollouts.items(), MOST_ROLLOUTS)),
        everywhere=report.everywhere[:MOST_ROLLOUTS],
    )


def _known(loads: list[_SentLoad]) -> Iterator[Load]:
    for load in loads:
        for phase in PHASES:
            if load.phase == phase:
                yield Load(load.endpoint, load.runner, load.model, phase, load.age)


def _known_rollouts(rollouts: dict[str, _SentRollout]) -> Iterator[tuple[str, Rollout]]:
    for key, one in rollouts.items():
        for state in STATES:
            if one.state == state:
                share = None if one.progress is None else min(1.0, _age(one.progress))
                left = None if one.seconds_left is None else _age(one.seconds_left)
                reason = None if one.reason is None else one.reason[:MOST_REASON]
                done, total, failed = (
                    min(max(0, count), MOST_ENDPOINTS) for count in (one.done, one.total, one.failed)
                )
                at, waits = tuple(one.at[:MOST_PLACES]), one.is_waited_for
                yield key, Rollout(state, done, total, share, left, reason, failed, at, waits)


def _counts(counts: dict[str, int], most: int) -> dict[str, int]:
    return {name: min(count, most) for name, count in counts.items() if count > 0}


def _age(seconds: float) -> float:
    return min(max(seconds, 0.0), MOST_SECONDS) if math.isfinite(seconds) else MOST_SECONDS


def _shorter(report: Report) -> Iterator[Report]:
    """The report with less and less in it: the loads stay longest, since every gateway acts on them."""
    yield (report := replace(report, tokens={}))
    yield (report := replace(report, rollouts={}))
    yield (report := replace(report, rates={}))
    yield (report := replace(report, waiting={}))
    busiest = sorted(report.in_flight, key=lambda endpoint: sum(report.in_flight[endpoint].values()), reverse=True)
    while busiest:
        busiest = busiest[: len(busiest) * 3 // 4]
        yield (report := replace(report, in_flight={endpoint: report.in_flight[endpoint] for endpoint in busiest}))
    yield replace(report, loads=())
