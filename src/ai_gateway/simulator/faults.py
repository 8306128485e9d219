"""Fault injection: what an endpoint does wrong, for which requests, and how often."""

import itertools
from collections.abc import Callable
from typing import Literal, get_args

import msgspec

from ai_gateway.wire.operations import OPERATIONS

Kind = Literal[
    "refuse",  # the listener is closed: connection refused; open connections stay
    "hang",  # the request is read and never answered
    "slow",  # everything takes `factor` times as long
    "status",  # an error status before anything else, with Ollama's error shape
    "busy",  # 503 with Ollama's own words
    "drop",  # TCP reset before the head
    "cut",  # TCP reset after `after_tokens` tokens
    "truncate",  # Ollama's own: a chunk with an empty model (native: an error line), then a proper end
    "end",  # a proper end of the body without finish_reason and [DONE]
    "eof",  # FIN in the middle of the body
    "stall",  # half-open: nothing more is sent, the connection stays
    "loop_guard",  # the repeat guard: no finish chunk; not streamed: finish_reason null and no usage
    "garbage",  # 200 with something else in the body, see `body`
    "redirect",  # 302 to `location`
    "cookie",  # a healthy answer with Set-Cookie
    "split",  # a healthy answer, sent in pieces of `piece_bytes` bytes
    "disk_full",  # a pull ends with an error line when `share` of a layer is here
    "bad_digest",  # a pull ends with an error line when all is here, and what is here goes
    "no_registry",  # a pull ends with an error line at once
]
Body = Literal["invalid_json", "wrong_type", "html", "empty", "array"]
Route = Literal["inference", "openai", "native", "state", "all"]

KINDS: tuple[str, ...] = get_args(Kind)
ENDINGS = frozenset({"cut", "truncate", "end", "eof", "stall", "loop_guard"})
OF_PULLS = frozenset({"disk_full", "bad_digest", "no_registry"})
INFERENCE_PATHS = frozenset(
    {
        "/api/generate",
        "/api/chat",
        "/api/embed",
        "/api/embeddings",
        *(row.path for row in OPERATIONS.values()),
    }
)


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One fault. Times in seconds. Without a limit, it applies to all requests."""

    kind: Kind
    routes: Route = "inference"  # the paths that it applies to; "refuse" applies to all
    path: str | None = None  # only this path, instead of `routes`
    model: str | None = None  # only requests for this model
    count: int | None = None  # after so many requests it is over; None: until it is removed
    seconds: float | None = None  # after so long it is over
    delay: float = 0.0  # before it happens
    after_tokens: int = 1  # cut, truncate, end, eof, stall, loop_guard
    status: int = 500  # status
    message: str = ""  # status; "" is Ollama's message for a dead runner
    factor: float = 10.0  # slow
    body: Body = "invalid_json"  # garbage
    location: str = "http://127.0.0.1:9/"  # redirect
    piece_bytes: int = 1  # split
    share: float = 0.5  # of a layer that is pulled: disk_full, and what breaks a pull off

    def meets(self, path: str, model: str) -> bool:
        """Whether the fault applies to a request."""
        if self.model is not None and _tagged(self.model) != _tagged(model):
            return False
        if self.kind in OF_PULLS:
            return path == "/api/pull"
        if self.path is not None:
            return path == self.path
        match self.routes:
            case "all":
                return True
            case "inference":
                return path in INFERENCE_PATHS
            case "openai":
                return path.startswith("/v1/")
            case "native":
                return path.startswith("/api/")
        return path not in INFERENCE_PATHS


class ActiveFault(msgspec.Struct):
    """A fault that is switched on. `left` counts down; `until` is a time of the endpoint's clock."""

    id: int
    fault: Fault
    left: int | None
    until: float | None


class Faults:
    """The faults of one endpoint, in the order in which they were added. `on_change` is called at every change."""

    def __init__(self, now: Callable[[], float], on_change: Callable[[], None] = lambda: None) -> None:
        self._now = now
        self._on_change = on_change
        self._ids = itertools.count(1)
        self._active: list[ActiveFault] = []

    def add(self, fault: Fault) -> int:
        """Switches a fault on; returns its id for `remove`."""
        until = None if fault.seconds is None else self._now() + fault.seconds
        active = ActiveFault(next(self._ids), fault, fault.count, until)
        self._active.append(active)
        self._on_change()
        return active.id

    def remove(self, fault_id: int) -> bool:
        """Switches one off; False if it was not on."""
        kept = [active for active in self._active if active.id != fault_id]
        was_there = len(kept) < len(self._active)
        self._active = kept
        self._on_change()
        return was_there

    def clear(self) -> None:
        """Switches all off."""
        self._active.clear()
        self._on_change()

    def active(self) -> list[ActiveFault]:
        """The faults that are on now."""
        now = self._now()
        self._active = [one for one in self._active if (one.until is None or one.until > now) and one.left != 0]
        return list(self._active)

    def next_end(self) -> float | None:
        """The earliest end of a fault with a time limit."""
        return min((one.until for one in self.active() if one.until is not None), default=None)

    @property
    def refuses(self) -> bool:
        """Whether the endpoint refuses connections."""
        return any(active.fault.kind == "refuse" for active in self.active())

    def take(self, path: str, model: str) -> list[Fault]:
        """The faults that apply to a request, at most one of each kind; counts them down."""
        taken: dict[str, Fault] = {}
        for active in self.active():
            fault = active.fault
            if fault.kind == "refuse" or fault.kind in taken or not fault.meets(path, model):
                continue
            if active.left is not None:
                active.left -= 1
            taken[fault.kind] = fault
        return list(taken.values())


def _tagged(model: str) -> str:
    """A model as Ollama looks it up: with its tag, in any case."""
    return model.lower() if ":" in model else f"{model.lower()}:latest"
