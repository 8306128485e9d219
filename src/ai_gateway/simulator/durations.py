"""Times as Go's API writes and reads them: durations such as `5m30s`, and RFC 3339 with nine digits."""

import math
import re
from datetime import UTC, datetime
from typing import Any

from ai_gateway.simulator.refusals import Refusal

FOREVER_SECONDS = 9_223_372_036.854775807  # Go's longest duration, about 292 years

_UNITS = {"ns": 1e-9, "us": 1e-6, "\u00b5s": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|\u00b5s|ms|s|m|h)")


def parse_keep_alive(value: Any) -> float | None:
    """Seconds from `keep_alive`: a number of seconds or a Go duration; negative is math.inf. None if absent."""
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return math.inf if value < 0 else float(value)
    if not isinstance(value, str):
        raise Refusal(400, f"json: cannot unmarshal {value!r} into Go struct field .keep_alive of type Duration")
    seconds = parse_duration(value)
    return math.inf if seconds < 0 else seconds


def parse_duration(text: str) -> float:
    """Seconds from a Go duration. Raises `Refusal` in Go's words."""
    digits = text.lstrip("+-")
    parts = _PART.findall(digits)
    if digits != "0" and (not parts or "".join(number + unit for number, unit in parts) != digits):
        raise Refusal(400, f'time: invalid duration "{text}"')
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    return -seconds if text.startswith("-") else float(seconds)


def rfc3339(unix_seconds: float) -> str:
    """`2026-08-21T18:48:22.123456789Z`; beyond the calendar it stays at its end."""
    whole = min(math.floor(unix_seconds), 253_402_300_799)
    nanoseconds = int((unix_seconds - math.floor(unix_seconds)) * 1e9) if not math.isinf(unix_seconds) else 0
    base = datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f".{nanoseconds:09d}".rstrip("0").rstrip(".")
    return f"{base}{fraction}Z"
