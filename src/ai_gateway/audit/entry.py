"""What the audit keeps of one request: one entry at its end, and in strict mode an intent before it is dispatched.

The columns of every store and of every export are made of the fields here. A field that is added later comes last and
is None by default: None is left out of what is hashed, so that older entries keep their hashes.
"""

from types import NoneType
from typing import Final, Literal, get_args, get_type_hints

import msgspec

EntryKind = Literal["end", "intent"]
EntryOutcome = Literal[
    "ok", "denied", "client_left", "upstream_broke", "timeout", "shed", "refused", "gateway_lost", "failed"
]
ColumnKind = Literal["text", "int", "bool"]

MAX_USER_AGENT: Final = 200


class AuditEntry(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One entry. Times are Unix nanoseconds, or milliseconds where the name says so; None: that was not reached.

    `kind`: a request has one `end`; an `intent` says that it was about to be dispatched. Both carry the id of the
    intent in `intent`; an end without one closes none. `writer` is NAME/BOOT of the gateway that wrote the entry, and
    `sequence` counts its entries from 1 without a gap.
    """

    writer: str
    sequence: int
    kind: EntryKind
    at_ns: int  # of the end; of an intent: when it was written
    started_ns: int
    request_id: str
    trace_id: str
    actor: str
    auth_method: str
    client_address: str
    method: str
    route: str  # the path's pattern, "" where nothing is served
    outcome: EntryOutcome
    stream: bool
    attempts: int
    bytes_in: int
    bytes_out: int
    tenant: str | None = None
    key_id: str | None = None  # never the key
    user_agent: str | None = None  # at most MAX_USER_AGENT characters
    model_asked: str | None = None  # as the client wrote it
    model_served: str | None = None  # Ollama's name
    endpoint: str | None = None  # HOST:PORT of the last attempt
    pod: str | None = None  # NAMESPACE/NAME
    status: int | None = None  # what the client got, or would have got after an early 200
    error_type: str | None = None
    error_code: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    queue_ms: int | None = None
    # The wait for the load, where the model was resident nowhere; and loading and prefill, where it was not resident.
    load_ms: int | None = None
    first_byte_ms: int | None = None
    total_ms: int | None = None
    reason: str | None = None  # why the endpoint was picked, or why the request was refused
    intent: str | None = None
    prompt_hash: str | None = None  # keyed
    request_content: str | None = None  # only where `audit.level` asks for it
    answer_content: str | None = None
    # By the gateway, where Ollama sent no plausible count; of an intent what limits reserved.
    tokens_counted: int | None = None


def _columns() -> tuple[tuple[str, ColumnKind], ...]:
    kinds: dict[type, ColumnKind] = {int: "int", bool: "bool"}
    hints = get_type_hints(AuditEntry)
    found = []
    for name in AuditEntry.__struct_fields__:
        kind = next((part for part in get_args(hints[name]) if part is not NoneType), hints[name])
        found.append((name, kinds.get(kind, "text")))
    return tuple(found)


# Every field in its order, with its kind; text is the kind of the two fields with few words, too.
columns: Final[tuple[tuple[str, ColumnKind], ...]] = _columns()


def lost_end(intent: AuditEntry, at_ns: int) -> AuditEntry:
    """The end of a request whose gateway is gone, from its intent."""
    reason = f"the gateway {intent.writer} was lost before the request ended"
    return msgspec.structs.replace(intent, kind="end", at_ns=at_ns, outcome="gateway_lost", reason=reason)
