"""What is known about one request, stamped on its way: who calls (Caller), and how it went (Exchange)."""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final, Literal, Protocol

import msgspec

from ai_gateway.wire.address import Address
from ai_gateway.wire.call import Call
from ai_gateway.wire.prompt_size import PromptSize
from ai_gateway.wire.trace_context import Parent, parent_header
from ai_gateway.wire.usage import Usage

# ASGI extension of the server's: a function that takes a callback for the moment when the client has left.
ON_LEFT: Final = "ai_gateway.on_left"
# Another one: a function that writes a piece of a body whose head is out, or returns False if that takes waiting.
WRITE_NOW: Final = "ai_gateway.write_now"
# And a function that cuts the client's connection at once, whatever it has not read.
CUT: Final = "ai_gateway.cut"
# And whether the port listens on loopback alone, so that only this machine, or a browser on it, can have asked.
ON_LOOPBACK: Final = "ai_gateway.on_loopback"

Outcome = Literal[
    "ok", "denied", "refused", "client_left", "client_stalled", "upstream_broke", "timeout", "failed", "shutdown"
]


AuthMethod = Literal["none", "keys", "kubernetes", "oidc"]


class Allowance(msgspec.Struct, frozen=True):
    """How much someone may ask for; None is no limit of that kind. Per minute, at one time, and per day (UTC)."""

    rpm: int | None = None
    tpm: int | None = None
    concurrent: int | None = None
    tokens_per_day: int | None = None


class Caller(msgspec.Struct, frozen=True):
    """Who sent a request. `address` is the client's IP, a trusted proxy's word included.

    `name` is that of its key, of its ServiceAccount (`system:serviceaccount:NAMESPACE:NAME`) or of its token.
    `allowance` is None for whoever has no limits of their own: then the default ones hold. `label` names the caller
    in metrics, where the operator's own words do; None: it is one of many.
    """

    name: str = "anonymous"
    address: str = ""
    tenant: str | None = None
    groups: tuple[str, ...] = ()
    method: AuthMethod = "none"
    key_id: str | None = None
    is_admin: bool = False
    models: tuple[tuple[str, ...], ...] = ()  # lists of patterns; what it may use is in each of them
    routes: tuple[str, ...] | None = None  # None: all
    allowance: Allowance | None = None
    label: str | None = None


class Upstream(msgspec.Struct, frozen=True):
    """Whom an attempt was made at: the endpoint's address, and its pod's NAMESPACE/NAME and node where it is one."""

    address: Address
    pod: str | None = None
    node: str | None = None


class Attempt(msgspec.Struct):
    """One try at one endpoint. Changed by the request path; `fault` stays None where it went well.

    Times as in Exchange: `answered_at` is when the head of the answer came.
    """

    upstream: Upstream
    reason: str  # why the policy chose it
    is_warm: bool  # the model was loaded there
    span_id: str = ""
    started_at: float = 0.0
    answered_at: float | None = None
    ended_at: float | None = None
    status: int | None = None
    failure: str | None = None
    error: str | None = None  # the fault in one word

    @property
    def endpoint(self) -> str:
        """HOST:PORT of the endpoint."""
        return self.upstream.address.authority

    @property
    def pod(self) -> str | None:
        """NAMESPACE/NAME, where the endpoint is a pod."""
        return self.upstream.pod


class Trace(msgspec.Struct, frozen=True):
    """The trace that a request belongs to, and the span that stands for the request in it. Ids are lower-case hex."""

    trace_id: str
    span_id: str
    parent: Parent | None = None
    is_recorded: bool = False  # spans of it are made here
    baggage: bytes = b""
    goes_on: bool = True  # endpoints are told of it

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


class Heads(msgspec.Struct):
    """The heads of a request and of its answer as they were; kept only where spans are made of them.

    `told` is set when the answer goes out.
    """

    protocol: str
    query: bytes
    peer: tuple[str, int] | None
    asked: list[tuple[bytes, bytes]]
    answered: list[tuple[bytes, bytes]] = []


class Content(Protocol):
    """What was asked and answered, in the semantic conventions' JSON, cut to a size."""

    def asked(self) -> str | None:
        """gen_ai.input.messages."""

    def answered(self) -> str | None:
        """gen_ai.output.messages."""

    def wrap_feed(self, feed: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
        """A stream's `feed` that also keeps what it passes on."""

    def answer(self, body: bytes) -> None:
        """Keeps a whole answer."""


# The exchange that a task works for, for whoever must tell of it on the way: the log, and calls beside the request.
CURRENT: Final[ContextVar["Exchange | None"]] = ContextVar("ai_gateway.exchange", default=None)

_NO_TRACE: Final = Trace("0" * 32, "0" * 16)


class Exchange:
    """One request with its outcome. The request path stamps it; whoever records reads it when it is closed.

    Times are in seconds on the monotonic clock of the event loop; None means that point was not reached.
    """

    __slots__ = (
        "answer_id",
        "asked_model",
        "attempts",
        "authenticated_at",
        "body_bytes",
        "call",
        "called_at",
        "caller",
        "client_name",
        "closed_at",
        "content",
        "context",
        "error_code",
        "error_type",
        "evidence",
        "finish_reason",
        "first_byte_at",
        "heads",
        "intent",
        "is_audited",
        "is_counted",
        "leased_at",
        "method",
        "model",
        "model_label",
        "opened_at",
        "outcome",
        "parameters",
        "path",
        "prompt",
        "prompt_hash",
        "queued_at",
        "reason",
        "reason",
        "reply_headers",
        "request_id",
        "route",
        "scheme",
        "sent_bytes",
        "sent_status",
        "started_ns",
        "status",
        "token_limit",
        "tokens_counted",
        "trace",
        "usage",
        "written",
    )

    def __init__(self, request_id: str, method: str, path: str, opened_at: float) -> None:
        self.request_id = request_id
        self.method = method
        self.path = path
        self.opened_at = opened_at
        self.started_ns = 0  # opened_at in Unix nanoseconds
        self.trace = _NO_TRACE
        self.heads: Heads | None = None
        self.scheme = "http"
        self.route: str | None = None  # the path's pattern, where one is served
        self.authenticated_at: float | None = None
        self.called_at: float | None = None  # the body was read and understood
        self.parameters: Mapping[str, Any] = {}  # of the call, for spans
        self.content: Content | None = None  # of prompt and answer, only where it is asked for
        self.client_name: str | None = None  # its User-Agent
        self.asked_model: str | None = None  # as the client wrote it, where there is no call
        self.evidence: Content | None = None  # of prompt and answer for the audit, only where it is asked for
        self.prompt_hash: str | None = None
        self.intent: str | None = None  # id of the audit's intent that was written before the call was sent
        self.is_audited = False  # the audit has its entry already
        self.answer_id = ""  # what makes the id of this answer unlike any other
        self.caller = Caller()
        self.call: Call | None = None
        self.model: str | None = None  # Ollama's name of the model served
        self.model_label: str | None = None  # the catalog's one name of it, for metrics
        self.attempts: list[Attempt] = []
        self.queued_at: float | None = None
        self.leased_at: float | None = None
        self.first_byte_at: float | None = None
        self.closed_at: float | None = None
        self.status: int | None = None  # what the client got, or would have got after an early 200
        self.sent_status: int | None = None  # what it got
        self.outcome: Outcome = "ok"
        self.error_type: str | None = None
        self.error_code: str | None = None
        self.reason: str | None = None  # for operators: the cause in full, without prompts
        self.finish_reason: str | None = None
        self.prompt = PromptSize(0)
        self.token_limit: int | None = None  # of the answer, as it is sent to Ollama
        self.context: int | None = None  # of the model where it runs, if that is known
        self.written: int | None = None  # tokens of the answer that the gateway saw; None: there was none
        self.usage: Usage | None = None  # as Ollama counted; once `is_counted`, only what can be true
        self.is_counted = False  # see accounting/tokens.py
        self.tokens_counted: int | None = None  # in place of a missing usage; until `is_counted`, what is reserved
        self.reply_headers: list[tuple[bytes, bytes]] = []  # what every answer to this request carries
        self.body_bytes = 0
        self.sent_bytes = 0
