"""W3C trace context and baggage as bytes of headers (https://www.w3.org/TR/trace-context/, .../baggage/).

The gateway ignores headers that break the rules and starts a new trace, as the standard says.
"""

import re
from collections.abc import Iterable
from typing import Final

import msgspec

MAX_STATE_BYTES: Final = 512
MAX_BAGGAGE_BYTES: Final = 8192
SAMPLED: Final = 0x01

_PARENT: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_PRINTABLE: Final = re.compile(rb"[\t\x20-\x7e]*")
_MEMBER: Final = re.compile(
    rb"[a-z0-9][a-z0-9_\-*/]{0,255}(@[a-z][a-z0-9_\-*/]{0,13})?=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{1,256}"
)


class Parent(msgspec.Struct, frozen=True):
    """The caller's span: ids in lower-case hex, `state` as the caller sent it.

    `header` is a `traceparent` of version 00: the caller's own, or a new one if the caller's has a later version. The
    gateway does not know what such a header has after the flags, and does not pass it on.
    """

    trace_id: str
    span_id: str
    is_sampled: bool
    header: bytes
    state: bytes = b""


def read_parent(parents: Iterable[bytes], states: Iterable[bytes]) -> Parent | None:
    """The caller's context from all `traceparent` and `tracestate` headers of a request; None if there is none."""
    found = list(parents)
    if len(found) != 1:
        return None
    match = _PARENT.fullmatch(found[0].strip())
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == b"ff" or (version == b"00" and rest) or not int(trace_id, 16) or not int(span_id, 16):
        return None
    trace, span = trace_id.decode(), span_id.decode()
    is_sampled = bool(int(flags, 16) & SAMPLED)
    header = match[0] if version == b"00" else parent_header(trace, span, is_sampled)
    return Parent(trace, span, is_sampled, header, _read_state(states))


def _read_state(states: Iterable[bytes]) -> bytes:
    members = [member.strip() for line in states for member in line.split(b",")]
    members = [member for member in members if member]
    state = b",".join(members)
    keys = {member.partition(b"=")[0] for member in members}
    is_valid = len(members) <= 32 and len(keys) == len(members) and all(map(_MEMBER.fullmatch, members))
    return state if is_valid and len(state) <= MAX_STATE_BYTES else b""


def read_baggage(lines: Iterable[bytes]) -> bytes:
    """All `baggage` headers as one; empty if it is too long or not printable."""
    baggage = b",".join(filter(None, (line.strip() for line in lines)))
    return baggage if len(baggage) <= MAX_BAGGAGE_BYTES and _PRINTABLE.fullmatch(baggage) else b""


def parent_header(trace_id: str, span_id: str, is_sampled: bool) -> bytes:
    """A `traceparent` of version 00."""
    return f"00-{trace_id}-{span_id}-0{is_sampled:d}".encode()


class Trace(msgspec.Struct, frozen=True):
    """The trace that a request belongs to, and the span that stands for the request in it. Ids are lower-case hex."""

    trace_id: str
    span_id: str
    parent: Parent | None = None
    is_recorded: bool = False  # spans of it are made here
    baggage: bytes = b""
    goes_on: bool = True  # endpoints get it, too

    def lines(self, span_id: str) -> bytes:
        """The header lines that an endpoint gets from the span with this id.

        Where no spans are made the caller's own context passes as it came: a span that nobody stores has no children.
        """
        lines = b"baggage: " + self.baggage + b"\r\n" if self.baggage else b""
        if not self.goes_on:
            return lines
        header = parent_header(self.trace_id, span_id, self.is_recorded)
        if self.parent is not None and not span_id:
            header = self.parent.header
        lines += b"traceparent: " + header + b"\r\n"
        if self.parent is not None and self.parent.state:
            lines += b"tracestate: " + self.parent.state + b"\r\n"
        return lines
