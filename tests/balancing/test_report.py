"""A report comes back as it was told; from a stranger's bytes come possible values, or a refusal."""

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.balancing.reports import REPORTS, some_report

from ai_gateway.balancing.report import (
    MOST_BYTES,
    MOST_CALLERS,
    MOST_CALLS,
    MOST_SECONDS,
    BadReport,
    Load,
    Report,
    clamped,
    decode,
    encode,
)
from ai_gateway.balancing.reporting import OwnReport, Presence

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)
FIELDS = ("uid", "format", "leads", "may_lead", "in_flight", "waiting", "tokens", "key", "loads")


def sent(**fields: Any) -> bytes:
    """A report as another gateway might send it."""
    return json.dumps({"uid": "a", **fields}).encode()


def is_possible(report: Report) -> bool:
    """Whether every number is in its range, and nothing is told that is zero."""
    counts = [count for runners in report.in_flight.values() for count in runners.values()]
    ages = [age for _, age in report.waiting.values()] + [load.age for load in report.loads]
    return (
        all(0 < count <= MOST_CALLS for count in counts)
        and all(report.in_flight.values())
        and all(0 <= age <= MOST_SECONDS for age in ages)
        and all(count > 0 for count, _ in report.waiting.values())
        and all(count > 0 for count in report.tokens.values())
        and len(report.tokens) <= MOST_CALLERS
    )


@given(REPORTS)
def test_a_report_comes_back_as_it_was_told(report: Report) -> None:
    """Without its zeros."""
    assert decode(encode(report)) == clamped(report)
    assert is_possible(clamped(report))


def test_what_is_zero_or_usual_takes_no_bytes() -> None:
    nothing = Report(
        uid="a", in_flight={"10.0.0.1:11434": {"llama3": 0}}, waiting={"llama3": (0, 0.0)}, tokens={"b": 0}
    )
    assert encode(nothing) == b'{"uid":"a"}'


@given(st.binary(max_size=300) | ANYTHING.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_report_or_refused(body: bytes) -> None:
    with suppress(BadReport):
        assert is_possible(decode(body))


@given(st.dictionaries(st.sampled_from(FIELDS), ANYTHING, min_size=1))
def test_any_value_of_a_field_is_brought_into_its_range_or_refused(fields: dict[str, Any]) -> None:
    """NaN and infinity among them, as Python writes them."""
    with suppress(BadReport):
        assert is_possible(decode(sent(**fields)))


@given(st.dictionaries(st.text(max_size=5), st.dictionaries(st.text(max_size=5), st.integers(-(1 << 80), 1 << 80))))
def test_counts_are_possible_however_they_were_sent(in_flight: dict[str, dict[str, int]]) -> None:
    """Also those with more digits than a machine word has."""
    assert is_possible(decode(sent(in_flight=in_flight)))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"uid":1}',
        b'{"uid":"a","in_flight":{"e":{"r":NaN}}}',
        b'{"uid":"a","in_flight":{"e":{"r":1.5}}}',
        b'{"uid":"a","in_flight":{"e":{"r":true}}}',
        b'{"uid":"a","in_flight":[]}',
        b'{"uid":"a","waiting":{"m":[1]}}',
        b'{"uid":"a","waiting":{"m":[1,NaN]}}',
        b'{"uid":"a","waiting":{"m":[1,Infinity]}}',
        b'{"uid":"a","loads":[{"endpoint":"e"}]}',
        b'{"uid":"a","format":0}',
        b'{"uid":"\xff"}',
        b'{"uid":"a","later":"\xff"}',
        b'{"uid":"' + b"a" * 129 + b'"}',
        b'{"uid":"a","in_flight":{"e":{"' + b"r" * 161 + b'":1}}}',
        b'{"uid":"a","later":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b'{"uid":"a","in_flight":' + b'{"e":' * 10_000 + b"1" + b"}" * 10_000 + b"}",
        b'{"uid":"a","tokens":{"t":' + b"9" * 60_000 + b"}}",
        b'{"uid":"a"}' + b" " * MOST_BYTES,
    ],
    ids=lambda body: repr(body[:40]),
)
def test_what_is_no_report_is_refused_as_a_whole(body: bytes) -> None:
    """With a reason that is short enough for a log."""
    with pytest.raises(BadReport) as refused:
        decode(body)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("told", "taken"), [(-5.0, 0.0), (1e300, MOST_SECONDS), (86_401, MOST_SECONDS), (3, 3.0), (-1e300, 0.0)]
)
def test_ages_are_of_one_day_at_most(told: float, taken: float) -> None:
    load = {"endpoint": "e", "runner": "r", "model": "m", "phase": "loading", "age": told}
    report = decode(sent(waiting={"m": [1, told]}, loads=[load]))
    assert report.waiting == {"m": (1, taken)}
    assert [load.age for load in report.loads] == [taken]


def test_a_number_that_is_none_counts_as_the_oldest() -> None:
    """Of a report made here: JSON has no way to say it."""
    (load,) = clamped(Report(uid="a", loads=(Load("e", "r", "m", "loading", math.nan),))).loads
    assert load.age == MOST_SECONDS


def test_a_runner_has_so_many_calls_at_most() -> None:
    assert decode(sent(in_flight={"e": {"r": 10**9, "s": -1}})).in_flight == {"e": {"r": MOST_CALLS}}


def test_of_the_callers_those_with_the_most_tokens_are_told() -> None:
    tokens = {f"caller-{number}": number for number in range(1, 1001)}
    kept = decode(encode(Report(uid="a", tokens=tokens))).tokens
    assert sorted(kept.values()) == list(range(801, 1001))


def test_a_later_release_is_read_for_what_is_known() -> None:
    """Fields and phases that this one does not know are left out, and all else counts."""
    load = {"endpoint": "e", "runner": "r", "model": "m", "age": 1.0}
    loads = [{**load, "phase": "dreaming"}, {**load, "phase": "loading", "color": "red"}]
    report = decode(sent(format=2, mood={"a": [1, {"b": None}]}, may_lead=True, loads=loads))
    assert report == Report(format=2, uid="a", may_lead=True, loads=(Load("e", "r", "m", "loading", 1.0),))


def test_a_report_that_lacks_everything_may_not_lead() -> None:
    assert decode(sent()) == Report(uid="a", may_lead=False, leads=False)


def large(endpoints: int, **more: Any) -> Report:
    """A gateway with calls on so many endpoints."""
    in_flight = {f"10.0.{number // 250}.{number % 250}:11434": {"r" * 160: number + 1} for number in range(endpoints)}
    return Report(uid="a", in_flight=in_flight, **more)


def test_a_report_that_is_too_long_leaves_out_what_matters_least() -> None:
    """First the tokens, then who waits, then the calls of the idlest endpoints; the loads stay."""
    load = Load("e", "r", "m", "loading", 1.0)
    tokens = {"t" * 100 + str(number): 9 for number in range(200)}
    report = large(300, tokens=tokens, waiting={"llama3": (1, 1.0)}, loads=(load,))
    kept = decode(encode(report))
    assert (kept.tokens, kept.in_flight, kept.waiting) == ({}, report.in_flight, report.waiting)
    report = large(2000, tokens=tokens, waiting={"llama3": (1, 1.0)}, loads=(load,))
    kept = decode(encode(report))
    assert (kept.tokens, kept.waiting, kept.loads) == ({}, {}, (load,))
    assert 200 < len(kept.in_flight) < 400
    assert min(count for runners in kept.in_flight.values() for count in runners.values()) > 1600


@given(st.integers(0, 300))
def test_no_report_is_longer_than_others_read(loads: int) -> None:
    load = Load("e" * 300, "r" * 160, "m" * 500, "loading", 1.0)
    assert len(encode(Report(uid="a", loads=(load,) * loads))) <= MOST_BYTES


class _Telling:
    """Counts how often it is asked."""

    made = 0
    is_busy = False

    def make_report(self) -> Report:
        """See Reporting."""
        self.made += 1
        return replace(some_report("wrong"), waiting={"llama3": (self.made, 0.0)})

    def take_reports(self, reports: Mapping[str, tuple[Report, float]], present: Presence) -> None:
        """See Reporting."""


def test_a_report_is_made_five_times_a_second_at_most_however_often_it_is_asked_for() -> None:
    """Under the gateway's own uid, whatever its maker writes."""
    now = 100.0
    telling = _Telling()
    own = OwnReport("me", telling, lambda: now)
    first = own.body()
    assert decode(first).uid == "me"
    now = 100.19
    assert own.body() is first
    now = 100.2
    assert msgspec.json.decode(own.body())["waiting"] == {"llama3": [2, 0.0]}
    assert telling.made == 2


def test_the_numbers_of_a_rollout_can_be_written_down() -> None:
    """Of a peer that tells of more endpoints than a float can count: a scrape would fail."""
    body = b'{"uid":"a","rollouts":{"k":{"state":"updating","done":-1,"total":%d,"failed":%d}}}' % (10**400, 10**30)
    (rollout,) = decode(body).rollouts.values()
    assert (rollout.done, rollout.total, rollout.failed) == (0, 1 << 20, 1 << 20)
