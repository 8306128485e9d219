"""What is known about one request, stamped on its way: who calls (Caller), and how it went (Exchange)."""

from typing import Final, Literal

import msgspec

from ai_gateway.wire.call import Call
from ai_gateway.wire.usage import Usage

# ASGI extension of the server's: a function that takes a callback for the moment when the client has left.
ON_LEFT: Final = "ai_gateway.on_left"
# Another one: a function that writes a piece of a body whose head is out, or returns False if that takes waiting.
WRITE_NOW: Final = "ai_gateway.write_now"
# And a function that cuts the client's connection at once, whatever it has not read.
CUT: Final = "ai_gateway.cut"

Outcome = Literal["ok", "refused", "client_left", "client_stalled", "upstream_broke", "timeout", "failed", "shutdown"]


class Caller(msgspec.Struct, frozen=True):
    """Who sent a request. `address` is the client's IP, a trusted proxy's word included."""

    name: str = "anonymous"
    address: str = ""


class Attempt(msgspec.Struct):
    """One try at one endpoint. Changed by the request path; `fault` stays None where it went well."""

    endpoint: str
    reason: str  # why the policy chose it
    is_warm: bool  # the model was loaded there
    status: int | None = None
    fault: str | None = None
    pod: str | None = None  # NAMESPACE/NAME, where the endpoint is one


class Exchange:
    """One request with its outcome. The request path stamps it; whoever records reads it when it is closed.

    Times are in seconds on the monotonic clock of the event loop; None means that point was not reached.
    """

    __slots__ = (
        "answer_id",
        "attempts",
        "body_bytes",
        "call",
        "caller",
        "closed_at",
        "error_code",
        "error_type",
        "finish_reason",
        "first_byte_at",
        "leased_at",
        "method",
        "model",
        "opened_at",
        "outcome",
        "path",
        "queued_at",
        "reply_headers",
        "request_id",
        "sent_bytes",
        "status",
        "story",
        "usage",
    )

    def __init__(self, request_id: str, method: str, path: str, opened_at: float) -> None:
        self.request_id = request_id
        self.method = method
        self.path = path
        self.opened_at = opened_at
        self.answer_id = ""  # what makes the id of this answer unlike any other
        self.caller = Caller()
        self.call: Call | None = None
        self.model: str | None = None  # Ollama's name of the model served
        self.attempts: list[Attempt] = []
        self.queued_at: float | None = None
        self.leased_at: float | None = None
        self.first_byte_at: float | None = None
        self.closed_at: float | None = None
        self.status: int | None = None  # what the client got, or would have got after an early 200
        self.outcome: Outcome = "ok"
        self.error_type: str | None = None
        self.error_code: str | None = None
        self.story: str | None = None  # for operators: the cause in full, without prompts
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self.reply_headers: list[tuple[bytes, bytes]] = []  # what every answer to this request carries
        self.body_bytes = 0
        self.sent_bytes = 0
