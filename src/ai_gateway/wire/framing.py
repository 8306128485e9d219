"""What a strict server accepts as HTTP/1.1: bytes in, a value or an error out. Nothing here waits or does I/O.

A request is read once, in one way only (RFC 9112). The server refuses what two parsers could read differently, since
a proxy in front of us may have read it the other way (request smuggling). httptools parses the same bytes again
after these checks; both must agree.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

from ai_gateway.errors import InvalidRequest, WrongMethod

Fields = list[tuple[bytes, bytes]]

CHUNKED = -1
"""The body length of a chunked request, which is not known before its end."""

HEAD_END = b"\r\n\r\n"
METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"


@dataclass(frozen=True, slots=True)
class FramingLimits:
    """How much, and how slowly, a client may send. Sizes in bytes, times in seconds."""

    line_bytes: int = 8 * 1024  # request line; as nginx and Envoy allow, and enough for any id
    head_bytes: int = 32 * 1024  # request line and fields together
    fields: int = 100
    chunk_line_bytes: int = 128  # a chunk's size and its extensions, which no client uses
    chunk_framing_bytes: int = 16 * 1024  # chunk lines and trailers, beyond as many as there are body bytes
    pipelined_bytes: int = 64 * 1024  # read ahead while a request runs; after more, the connection ends with the answer
    first_byte_seconds: float = 10.0  # a silent client, from accept
    head_seconds: float = 10.0  # from the head's first byte to its end
    body_silence_seconds: float = 30.0  # without a single byte of the body
    body_rate: float = 1024.0  # bytes per second, averaged over the body
    body_grace_seconds: float = 30.0  # before the rate counts
    idle_seconds: float = 75.0  # between requests, if no config sets it
    write_silence_seconds: float = 60.0  # a client that does not read what we write
    underway_seconds: float = 0.5  # for a request that was sent on a quiet connection when the gateway began to leave
    last_call_seconds: float = 1.0  # for one more request after an answer that could not announce the close
    linger_seconds: float = 5.0  # reading on after a refusal, so that a reset does not destroy it (RFC 9112 9.6)
    sweep_seconds: float = 0.5  # how often deadlines are checked: their precision


class RequestLine(NamedTuple):
    """A request line, taken apart. `authority` is empty unless the target was in absolute form."""

    method: bytes
    path: bytes
    query: bytes
    minor: bytes
    authority: bytes = b""


# Visible ASCII without "#" (a fragment is never sent, RFC 9112 3.2); the path also ends at "?".
_LINE = re.compile(rb"(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (/[!\"$->@-~]*)\??([!\"$-~]*) HTTP/1\.([01])\r\n")
_ABSOLUTE = re.compile(
    rb"(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (?i:https?)://([^/?# @]+)(/[!\"$->@-~]*|)\??([!\"$-~]*)"
    rb" HTTP/1\.([01])\r\n"
)
_VERSION = re.compile(rb"[!-~]+ [!-~]+ HTTP/([0-9]\.[0-9])\r\n")
_METHOD = re.compile(rb"([A-Za-z!#$%&'*+.^_`|~0-9-]+) [!-~]+ HTTP/1\.[01]\r\n")
# Control characters, a line feed without carriage return, and the other way round.
_BROKEN = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r[^\n]")
_HOST = re.compile(rb"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_UPGRADE = re.compile(rb"(?i)(?<=\r\n)upgrade:[^\r\n]*\r\n")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})(?:;[\t -~\x80-\xff]*)?")
_FIELD = re.compile(rb"([A-Za-z0-9!#$%&'*+.^_`|~-]+):[\t -~\x80-\xff]*")

_ONCE = (b"host", b"content-length", b"transfer-encoding", b"expect")
# A trailer is not merged into the fields, so most may be ignored; these would have changed how the request is read.
_NEVER_TRAILERS = frozenset({b"content-length", b"transfer-encoding", b"host"})


def malformed(message: str) -> InvalidRequest:
    """A 400 for bytes that are not strict HTTP/1.1."""
    return InvalidRequest(message, code="malformed_request")


def check_part(head: bytes | bytearray, new_from: int, limits: FramingLimits) -> None:
    """Raises for an incomplete head as soon as it cannot become valid.

    `new_from` is where the unchecked bytes begin, so that many small pieces cost no more than one large one.
    """
    if _BROKEN.search(head, max(0, new_from - 1)):
        raise malformed("The request has control characters or line ends other than CRLF.")
    line_end = head.find(b"\r\n", 0, limits.line_bytes + 2)
    if line_end < 0 and len(head) > limits.line_bytes:
        raise _line_too_long(limits)
    if line_end >= 0 and line_end + 2 > new_from:
        request_line(bytes(head[: line_end + 2]), limits)
    if len(head) > limits.head_bytes:
        raise head_too_large(limits)


def head_too_large(limits: FramingLimits) -> InvalidRequest:
    """A 431 that names both limits."""
    message = f"The request's head is too large: send at most {limits.head_bytes} bytes and {limits.fields} fields."
    return InvalidRequest(message, code="headers_too_large", status=431)


def request_line(head: bytes, limits: FramingLimits) -> RequestLine:
    """The request line at the beginning of `head`. Raises 400, 405, 414 or 505 for one that is not served."""
    match = _LINE.match(head)
    if match is not None and match.end() <= limits.line_bytes + 2:
        return RequestLine(*match.groups())
    return _unusual_line(head, limits)


def _unusual_line(head: bytes, limits: FramingLimits) -> RequestLine:
    line_end = head.find(b"\r\n", 0, limits.line_bytes + 2)
    if line_end < 0:
        raise _line_too_long(limits)
    absolute = _ABSOLUTE.match(head)
    if absolute is not None:
        method, authority, path, query, minor = absolute.groups()
        return RequestLine(method, path or b"/", query, minor, authority)
    version = _VERSION.match(head)
    if version is not None and version[1] not in (b"1.0", b"1.1"):
        message = "The gateway speaks only HTTP/1.1 and HTTP/1.0."
        raise InvalidRequest(message, code="http_version_not_supported", status=505)
    method_match = _METHOD.match(head)
    if method_match is not None and method_match[1].decode() not in METHODS.split(", "):
        raise WrongMethod("The gateway does not serve this method.", allow=METHODS)
    raise malformed("The request line is not 'METHOD /path HTTP/1.1'.")


def _line_too_long(limits: FramingLimits) -> InvalidRequest:
    message = f"The request line is too long: send at most {limits.line_bytes} bytes."
    return InvalidRequest(message, code="uri_too_long", status=414)


def check_fields(line: RequestLine, fields: Fields, limits: FramingLimits) -> tuple[int, bool]:
    """The body's length in bytes or CHUNKED, and whether the client waits for a 100 (Continue) before it.

    Raises for fields that leave the host or the body's end unclear. `fields` have lower-case names.
    Sources: RFC 9112 3.2 (Host), 6.1 to 6.3 (lengths), RFC 9110 10.1.1 (Expect).
    """
    if len(fields) > limits.fields:
        raise head_too_large(limits)
    found = dict(fields)
    if len(found) != len(fields):
        _check_doubles(fields)
    _check_host(line, found.get(b"host"))
    expectation = found.get(b"expect", b"").lower()
    if expectation not in (b"", b"100-continue"):
        raise InvalidRequest("The gateway supports only 'Expect: 100-continue'.", code="expectation_failed", status=417)
    return _body_length(line, found), bool(expectation) and line.minor == b"1"


def _check_doubles(fields: Fields) -> None:
    names = [name for name, _ in fields]
    for name in _ONCE:
        if names.count(name) > 1:
            raise malformed(f"The request has two {name.decode()} fields.")


def _check_host(line: RequestLine, host: bytes | None) -> None:
    if host is None:
        if line.minor == b"1" or line.authority:
            raise malformed("The request has no Host field.")
        return
    if not _HOST.fullmatch(host):
        raise malformed("The Host field is not a host name or address with an optional port.")
    if line.authority and line.authority.lower() != host.lower():
        raise malformed("The request's target and its Host field name different hosts.")


def _body_length(line: RequestLine, found: dict[bytes, bytes]) -> int:
    coding = found.get(b"transfer-encoding")
    length = found.get(b"content-length")
    if coding is None:
        if length is None:
            return 0
        if not _LENGTH.fullmatch(length):
            raise malformed("The Content-Length field is not a number.")
        return int(length)
    if length is not None:
        raise malformed("The request has both Content-Length and Transfer-Encoding.")
    if line.minor == b"0" or coding.lower() != b"chunked":  # coding names have no case (RFC 9112 7)
        raise malformed("The gateway supports only the transfer coding 'chunked', and only in HTTP/1.1.")
    return CHUNKED


def without_upgrade(head: bytes) -> bytes:
    """The head without its Upgrade field, which a server may ignore (RFC 9110 7.8).

    httptools would read the body of an upgrade request as bytes of another protocol.
    """
    return _UPGRADE.sub(b"", head)


class ChunkedBody:
    """Follows a chunked body to its end (RFC 9112 7.1). Changes as it is fed; belongs to one connection's reader."""

    def __init__(self, limits: FramingLimits) -> None:
        self.is_complete = False
        self._limits = limits
        self._line = bytearray()  # of a size line or trailer that is not whole yet
        self._data_left = 0  # bytes of the current chunk, with its CRLF
        self._is_trailing = False
        self._data_bytes = 0
        self._framing_bytes = 0

    def take(self, data: bytes) -> int:
        """How many bytes of `data` belong to this body: all of them until `is_complete`."""
        position = 0
        while position < len(data) and not self.is_complete:
            if self._data_left > 2:
                step = min(self._data_left - 2, len(data) - position)
                self._data_left -= step
                position += step
            elif self._data_left:
                self._end_chunk(data[position])
                position += 1
            else:
                position = self._take_line(data, position)
        return position

    def _end_chunk(self, byte: int) -> None:
        if byte != b"\r\n"[2 - self._data_left]:
            raise malformed("A chunk of the body is longer than its size says.")
        self._data_left -= 1

    def _take_line(self, data: bytes, position: int) -> int:
        line = self._line
        before = len(line)
        limit = self._limits.line_bytes if self._is_trailing else self._limits.chunk_line_bytes
        line += data[position : position + limit + 2 - before]
        end = line.find(b"\r\n", max(0, before - 1))
        if end < 0:
            if len(line) >= limit + 2 or _BROKEN.search(line):
                raise malformed("A chunk size or trailer is too long or not ended by CRLF.")
            return len(data)
        whole = bytes(line[:end])
        line.clear()
        self._count(end + 4)
        if self._is_trailing:
            self._end_trailer(whole)
        else:
            self._begin_chunk(whole)
        return position + end + 2 - before

    def _count(self, framing_bytes: int) -> None:
        # Each chunk costs us a step of work: a body made of one-byte chunks or trailers is an attack, not a stream.
        self._framing_bytes += framing_bytes
        if self._framing_bytes > self._limits.chunk_framing_bytes + self._data_bytes:
            raise malformed("The body has more chunk framing than content.")

    def _begin_chunk(self, line: bytes) -> None:
        match = _CHUNK_SIZE.fullmatch(line)
        if match is None:
            raise malformed("A chunk size is not a hexadecimal number.")
        size = int(match[1], 16)
        self._data_bytes += size
        if size:
            self._data_left = size + 2
        else:
            self._is_trailing = True

    def _end_trailer(self, line: bytes) -> None:
        if not line:
            self.is_complete = True
            return
        match = _FIELD.fullmatch(line)
        if match is None or match[1].lower() in _NEVER_TRAILERS:
            raise malformed("The body's trailer has a field that a trailer may not have.")
