"""Response headers show the tightest limit of each kind, in the forms that clients read."""

import pytest
from tests.limits.worlds import Clocks, rule

from ai_gateway.limits.admission import Counts
from ai_gateway.limits.headers import go_duration, limit_headers


def headers_of(clocks: Clocks, *rules: object, tokens: int = 0) -> dict[str, str]:
    verdict = clocks.memory().admit(rules, tokens)  # type: ignore[arg-type]  # Terms
    counts: Counts = verdict.counts
    return {name.decode(): value.decode() for name, value in limit_headers(counts)}


def test_headers_show_the_tightest_limit_of_each_kind() -> None:
    headers = headers_of(Clocks(), rule("alice", rpm=60, tpm=1000), rule("team", rpm=30, tokens_per_day=50), tokens=40)
    assert headers["x-ratelimit-limit-requests"] == "30"
    assert headers["x-ratelimit-remaining-requests"] == "29"
    assert headers["x-ratelimit-reset-requests"] == "2s"
    assert headers["x-ratelimit-remaining-tokens"] == "960"
    assert headers["x-ratelimit-reset-tokens"] == "3s"  # 2.4, and never too early
    assert headers["ratelimit"] == '"rpm";r=29;t=2, "tpm";r=960;t=3, "tokens-per-day";r=10;t=43200'


def test_without_a_limit_per_minute_headers_show_the_day() -> None:
    headers = headers_of(Clocks(), rule(tokens_per_day=50), tokens=40)
    assert headers["x-ratelimit-reset-tokens"] == "12h0m0s"
    assert "x-ratelimit-limit-requests" not in headers


def test_headers_show_the_gateways_own_share() -> None:
    assert headers_of(Clocks(), rule(gateways=3, rpm=60))["ratelimit-policy"] == '"rpm";q=20;w=60'


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"), (0.0001, "1ms"), (0.25, "250ms"), (1, "1s"), (1.2, "2s"), (59.9, "1m0s"), (360, "6m0s"),
        (7200, "2h0m0s"), (86399, "23h59m59s"),
    ],
)  # fmt: skip
def test_durations_are_written_as_openai_writes_them(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text
