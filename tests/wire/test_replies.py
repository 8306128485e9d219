"""Error replies: one shape for every error, and headers that say whether a retry helps."""

import inspect
import json

import pytest

from ai_gateway import errors
from ai_gateway.errors import (
    GatewayError,
    InvalidRequest,
    ModelMissing,
    QueueFull,
    UnknownPath,
    WrongMethod,
    error_type,
)
from ai_gateway.wire.replies import error_body, error_event, error_reply, retry_headers

KINDS = [
    kind
    for kind in vars(errors).values()
    if inspect.isclass(kind) and issubclass(kind, GatewayError) and kind is not WrongMethod
]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request"), (401, "unauthorized"), (403, "unauthorized"), (404, "invalid_request"),
        (408, "invalid_request"), (413, "invalid_request"), (429, "rate_limited"), (500, "internal_error"),
        (501, "internal_error"), (502, "backend_unavailable"), (503, "backend_unavailable"),
        (504, "backend_unavailable"), (505, "internal_error"),
    ],
)  # fmt: skip
def test_the_type_follows_from_the_status(status: int, kind: str) -> None:
    """By one rule for all."""
    assert error_type(status) == kind
    assert json.loads(error_body(status, "c", "m"))["error"]["type"] == kind


@pytest.mark.parametrize("kind", KINDS)
def test_every_refusal_has_the_same_shape(kind: type[GatewayError]) -> None:
    """Type, message, code and param, all four always."""
    status, headers, body = error_reply(kind("Say it so.", param="model"))
    error = json.loads(body)["error"]
    assert error == {"type": error_type(status), "message": "Say it so.", "code": kind.code, "param": "model"}
    assert (b"content-type", b"application/json") in headers
    assert (b"content-length", str(len(body)).encode()) in headers


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.status == 503])
def test_every_503_says_when_to_come_back(kind: type[GatewayError]) -> None:
    """In whole seconds and in milliseconds."""
    headers = dict(retry_headers(kind("m")))
    assert int(headers[b"retry-after"]) >= 1
    assert int(headers[b"retry-after-ms"]) > 0


def test_retry_after_is_rounded_up() -> None:
    """A client never retries too early."""
    error = QueueFull("m")
    error.retry_after = 1.2
    assert retry_headers(error) == [(b"retry-after", b"2"), (b"retry-after-ms", b"1200")]


def test_a_useless_retry_is_marked_as_such() -> None:
    """OpenAI's clients read x-should-retry; where nothing is known it is not sent."""
    assert (b"x-should-retry", b"false") in retry_headers(ModelMissing("m"))
    assert not [name for name, _ in retry_headers(InvalidRequest("m")) if name == b"x-should-retry"]


def test_a_refusal_may_have_a_finer_code_and_another_status() -> None:
    """As Ollama gave it."""
    status, _, body = error_reply(InvalidRequest("m", code="context_length_exceeded", status=422))
    assert status == 422
    assert json.loads(body)["error"]["code"] == "context_length_exceeded"


def test_a_wrong_method_names_the_right_ones() -> None:
    """RFC 9110 15.5.6."""
    status, headers, _ = error_reply(WrongMethod("m", allow="GET, HEAD"))
    assert status == 405
    assert (b"allow", b"GET, HEAD") in headers


def test_an_error_event_with_any_text_is_one_line() -> None:
    """A message with line ends cannot end the event."""
    event = error_event(UnknownPath("a\n\ndata: [DONE]\r\n\r\n\u2028"))
    assert event.startswith(b"data: {")
    assert event.endswith(b"}\n\n")
    assert b"\n" not in event[:-2]
    assert b"\r" not in event
    assert json.loads(event[6:])["error"]["code"] == "not_found"
