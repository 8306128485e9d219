"""Error replies as bytes: one JSON shape for every error, in answers and in streams.

Nothing here waits or knows ASGI; `edge` and the strict server write what this returns.
"""

import math

import msgspec

from ai_gateway.errors import GatewayError, Unauthorized, WrongMethod, error_type

Headers = list[tuple[bytes, bytes]]

_encode = msgspec.json.Encoder().encode


def error_body(status: int, code: str, message: str, param: str | None = None) -> bytes:
    """`{"error": {"type", "message", "code", "param"}}` as JSON; the type follows from the status."""
    return _encode({"error": {"type": error_type(status), "message": message, "code": code, "param": param}})


def json_headers(body: bytes) -> Headers:
    """The headers that describe a JSON body."""
    return json_headers_for(len(body))


def json_headers_for(size: int) -> Headers:
    """The headers for a JSON body of `size` bytes."""
    return [(b"content-type", b"application/json"), (b"content-length", str(size).encode())]


def error_reply(error: GatewayError) -> tuple[int, Headers, bytes]:
    """Status, headers (without connection and id headers) and body of the reply for an error."""
    body = error_body(error.error_status, error.error_code, error.message, error.param)
    headers = json_headers(body) + retry_headers(error)
    if isinstance(error, WrongMethod):
        headers.append((b"allow", error.allow.encode()))
    if isinstance(error, Unauthorized):
        headers.append((b"www-authenticate", b'Bearer realm="ai-gateway-ollama"'))
    return error.error_status, headers, body


def retry_headers(error: GatewayError) -> Headers:
    """`Retry-After` (whole seconds), `retry-after-ms` and `x-should-retry`, as OpenAI's clients read them."""
    headers: Headers = []
    if error.retry_after is not None:
        headers.append((b"retry-after", str(math.ceil(error.retry_after)).encode()))
        headers.append((b"retry-after-ms", str(round(error.retry_after * 1000)).encode()))
    if error.should_retry is not None:
        headers.append((b"x-should-retry", b"true" if error.should_retry else b"false"))
    return headers


def error_event(error: GatewayError) -> bytes:
    """An error as one server-sent event, for a stream whose 200 is already sent.

    `status` is the one that a reply would have had.
    """
    content = {
        "type": error.type,
        "message": error.message,
        "code": error.error_code,
        "param": error.param,
        "status": error.error_status,
    }
    return b"data: " + _encode({"error": content}) + b"\n\n"
