"""A moment has one form in all lines of JSON."""

from datetime import datetime

import pytest

from ai_gateway.wire.timestamp import timestamp


@pytest.mark.parametrize(
    ("at_ns", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000_123_456_789, "2023-11-14T22:13:20.123Z"),
        (1_700_000_000_999_999_999, "2023-11-14T22:13:20.999Z"),  # cut, not rounded: never later than it was
        (-1, "1969-12-31T23:59:59.999Z"),
    ],
)
def test_a_moment_is_told_in_utc_to_the_millisecond(at_ns: int, text: str) -> None:
    """With all three digits, so that lines sort by it."""
    assert timestamp(at_ns) == text
    assert datetime.fromisoformat(text).timestamp() <= at_ns / 1e9 + 1e-6
