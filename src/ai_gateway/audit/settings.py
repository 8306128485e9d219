"""How entries are written."""

import time
from collections.abc import Callable

import msgspec

from ai_gateway.audit.chain import Checkpoint

Redact = Callable[[str], str]


class AuditSettings(msgspec.Struct, frozen=True):
    """How a writer works. `writer` is NAME/BOOT. `sink` takes each checkpoint, in the writer's thread.

    `key` reads the chain's key, or makes it; it may raise OSError. With `beats` the writer gives signs of life, so
    that its intents are not taken for those of a dead gateway. With `begins_anew` it goes on where what was stored is
    gone, and its chain tells of the gap; without, nothing is written until all of it is back. `restore_key` puts the
    key back where it was made, if it went with the store.
    """

    writer: str
    key: Callable[[], bytes]
    keep_seconds: float
    max_bytes: int
    redact: Redact | None = None
    sink: Callable[[Checkpoint], None] | None = None
    clock: Callable[[], int] = time.time_ns
    signs_of_life: bool = False
    begins_anew: bool = False
    restore_key: Callable[[bytes], None] | None = None
    again_seconds: float = 1.0  # until a store that failed is tried again
