"""The one form of a moment in lines of JSON: RFC 3339, in UTC, to the millisecond."""

from datetime import UTC, datetime


def timestamp(at_ns: int) -> str:
    """Unix nanoseconds as `2026-01-31T12:00:00.123Z`: always 24 characters, so that lines sort by it."""
    seconds, rest = divmod(at_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat()[:19]}.{rest // 10**6:03d}Z"
