"""What is known about one request: who sent it (Caller), and how it went (Exchange)."""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final, Literal, Protocol

import msgspec

from ai_gateway.wire.address import Address
from ai_gateway.wire.call import Call
from ai_gateway.wire.trace_context import Trace
from ai_gateway.wire.usage import PromptSize, Usage

# ASGI extension of the server's: a function that takes a callback for the moment when the client has left.
ON_LEFT: Final = "ai_gateway.on_left"
# Another one: a function that writes a piece of a body whose head is out, or returns False if that takes waiting.
WRITE_NOW: Final = "ai_gateway.write_now"
# And a function that cuts the client's connection at once, whatever it has not read.
CUT: Final = "ai_gateway.cut"
# And whether the port listens on loopback alone, so that only this machine, or a browser on it, can have asked.
ON_LOOPBACK: Final = "ai_gateway.on_loopback"

OutcomeKind = Literal[
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
    `allowance` is None for a caller without limits of its own: then the default ones hold. `is_batch`: its calls wait
    behind those of others. `label` names the caller in metrics, where the operator's own words do; None: it is one of
    many.
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
    is_batch: bool = False
    allowance: Allowance | None = None
    label: str | None = None


class Upstream(msgspec.Struct, frozen=True):
    """The endpoint of an attempt: its address, and the NAMESPACE/NAME and node of its pod, if it is one."""

    address: Address
    pod: str | None = None
    node: str | None = None


class Attempt(msgspec.Struct):
    """One attempt at one endpoint. Changed by the request path; `failure` stays None where it went well.

    Times as in Times: `answered_at` is when the head of the answer came.
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
    error: str | None = None  # the failure in one word
    version: str | None = None  # Ollama's name of what was called there, where the gateway makes names

    @property
    def endpoint(self) -> str:
        """HOST:PORT of the endpoint."""
        return self.upstream.address.authority

    @property
    def pod(self) -> str | None:
        """NAMESPACE/NAME, where the endpoint is a pod."""
        return self.upstream.pod


class Heads(msgspec.Struct):
    """The heads of a request and of its answer as they were; kept only where spans are made of them.

    `answered` is set when the answer goes out.
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


# The exchange that a task works for. The log reads it, and so do calls beside the request.
CURRENT: Final[ContextVar["Exchange | None"]] = ContextVar("ai_gateway.exchange", default=None)

_NO_TRACE: Final = Trace("0" * 32, "0" * 16)


class Ids(msgspec.Struct):
    """The names of the request, its answer and its model. Changed by the request path."""

    request_id: str
    answer_id: str = ""  # what makes the id of this answer unlike any other
    trace: Trace = _NO_TRACE
    asked_model: str | None = None  # as the client wrote it, where there is no call
    model: str | None = None  # Ollama's name of the model served: where the gateway makes names, of that version
    tag: str | None = None  # Ollama's name as the config has it, which stays whatever version serves
    model_label: str | None = None  # the catalog's one name of it, for metrics
    intent: str | None = None  # id of the audit's intent that was written before the call was sent


class Times(msgspec.Struct):
    """When each point was reached, None where it was not. Changed by the request path.

    In seconds on the monotonic clock of the event loop.
    """

    opened_at: float
    started_ns: int = 0  # opened_at in Unix nanoseconds
    authenticated_at: float | None = None
    called_at: float | None = None  # the body was read and understood
    queued_at: float | None = None
    leased_at: float | None = None
    load_wait_seconds: float = 0.0  # of the wait before `leased_at`: while the model was resident nowhere
    first_byte_at: float | None = None
    closed_at: float | None = None

    def waits(self, until: float | None = None) -> tuple[float | None, float]:
        """How long the call waited for a slot, and for the load of its model. The first is None if it did not ask.

        `until` is when a wait ended that got no slot.
        """
        ended_at = self.leased_at or until
        if self.queued_at is None or ended_at is None:
            return None, self.load_wait_seconds
        return max(0.0, ended_at - self.queued_at - self.load_wait_seconds), self.load_wait_seconds


class Outcome(msgspec.Struct):
    """What became of the request. Changed by the request path."""

    kind: OutcomeKind = "ok"
    status: int | None = None  # what the client got, or would have got after an early 200
    sent_status: int | None = None  # what it got
    sent_bytes: int = 0
    error_type: str | None = None
    error_code: str | None = None
    reason: str | None = None  # for operators: the cause in full, without prompts
    finish_reason: str | None = None
    is_audited: bool = False  # the audit has its entry already


class Tokens(msgspec.Struct):
    """What the call takes. Changed by the request path, and closed once by accounting/admission.py."""

    prompt: PromptSize = PromptSize(0)
    limit: int | None = None  # of the answer, as it is sent to Ollama
    context: int | None = None  # of the model where it runs, if that is known
    written: int | None = None  # tokens of the answer that the gateway saw; None: there was none
    usage: Usage | None = None  # as Ollama counted; once `is_counted`, only what can be true
    is_counted: bool = False
    counted: int | None = None  # in place of a missing usage; until `is_counted`, what is reserved


class Kept(msgspec.Struct):
    """What is kept of the request and its answer for spans and the audit, each only where it is asked for."""

    heads: Heads | None = None
    parameters: Mapping[str, Any] = {}  # of the call, for spans
    content: Content | None = None  # of prompt and answer, for spans
    evidence: Content | None = None  # of prompt and answer, for the audit
    prompt_hash: str | None = None


class Exchange(msgspec.Struct, eq=False, weakref=True):
    """One request with its outcome. The request path fills it in; readers get it when it is closed."""

    ids: Ids
    times: Times
    method: str
    path: str
    outcome: Outcome = msgspec.field(default_factory=Outcome)
    tokens: Tokens = msgspec.field(default_factory=Tokens)
    kept: Kept = msgspec.field(default_factory=Kept)
    scheme: str = "http"
    route: str | None = None  # the path's pattern, where one is served
    client_name: str | None = None  # its User-Agent
    caller: Caller = Caller()
    call: Call | None = None
    attempts: list[Attempt] = []
    body_bytes: int = 0
    reply_headers: list[tuple[bytes, bytes]] = []  # what every answer to this request carries
