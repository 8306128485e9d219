"""API keys, checked against the hashes in their file; nothing is looked up on the disk for a request."""

import hashlib
import hmac
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from ai_gateway.auth.identity import Identity, Unavailable
from ai_gateway.auth.keys_file import ID_LENGTH, MAX_BYTES, PREFIX, KeyEntry, KeysError, read_entries
from ai_gateway.config.reading import Unreadable, shown
from ai_gateway.config.steady import Steady

log = logging.getLogger("ai_gateway.auth")

_PREFIX: Final = PREFIX.encode()
_ID: Final = slice(len(PREFIX), len(PREFIX) + ID_LENGTH)
_NO_HASH: Final = b"\0" * 32


class _ActiveKey(msgspec.Struct, frozen=True):
    digest: bytes
    ends_at: float  # Unix seconds: what an operator writes is a date
    identity: Identity


Kept = dict[bytes, _ActiveKey]

_NOBODY: Final = _ActiveKey(_NO_HASH, 0.0, Identity("", "keys"))


class Keys:
    """The keys in force. Changed by `take`; a file that is nonsense changes nothing, `complaint` says why.

    Until a file was read nobody can be told from anybody.
    """

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self._wall_clock = wall_clock
        self._kept: Kept | None = None
        self.reason: str | None = "the file of keys was not read yet"

    @property
    def count(self) -> int | None:
        """How many there are, those that ended too; None until a file was read."""
        return None if self._kept is None else len(self._kept)

    def fits(self, token: bytes) -> bool:
        """Everything that is no JWT may be meant for a key."""
        return token.startswith(_PREFIX) or token.count(b".") != 2

    def close(self) -> None:
        """There is nothing to end."""

    async def identify(self, token: bytes) -> Identity | None:
        """See Method."""
        if self._kept is None and token:
            raise Unavailable("the file of keys was never read")
        return self.find(token)

    def find(self, token: bytes) -> Identity | None:
        """Whose key it is. The same work is done for a known and an unknown id, and for no key at all."""
        digest = hashlib.sha256(token).digest()
        kept = (self._kept or {}).get(token[_ID], _NOBODY)
        is_right = hmac.compare_digest(digest, kept.digest)
        return kept.identity if is_right and self._wall_clock() < kept.ends_at else None

    def take(self, entries: tuple[KeyEntry, ...]) -> None:
        """Puts these in force, in place of all others."""
        self.put(kept(entries))

    def put(self, found: Kept) -> None:
        """The same, for what `kept` made of them."""
        self._kept = found
        self.reason = None


class KeysFile:
    """A file of keys that is followed. `read` may be called in a thread: a mount may hang, and a long file takes a
    while to understand; `take`, in the event loop, puts in force what was read.

    A file that is half written is waited for (see `steady`): its last key may lack the line that revokes it.
    """

    def __init__(self, path: Path, keys: Keys, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._keys = keys
        self._file = Steady(path, MAX_BYTES, clock=clock)
        self._seen: bytes | None = None

    @property
    def pause_seconds(self) -> float:
        """Until it should be read again."""
        return self._file.pause_seconds

    def read(self) -> Kept | str | None:
        """Its keys, what is wrong with it, or None: there is nothing new, or nothing that is whole."""
        try:
            content = self._file.check()
        except Unreadable as failure:
            self._seen = None
            return str(failure)
        if content is None or content == self._seen:
            return None
        self._seen = content
        try:
            return kept(read_entries(content))
        except KeysError as error:
            return f"{shown(self._path)}: {error}"

    def again(self) -> None:
        """Has all of it read with the next look."""
        self._seen = None
        self._file.expect_change()

    def take(self, found: Kept | str | None) -> None:
        """Puts keys in force; tells of trouble once."""
        if isinstance(found, str):
            if found != self._keys.reason:
                log.error("keys: the last good ones stay in force: %s", found)
            self._keys.reason = found
        elif found is not None:
            self._keys.put(found)
            log.info("%d keys are in force, from %s", len(found), shown(self._path))


def kept(entries: tuple[KeyEntry, ...]) -> Kept:
    """What is kept of the entries, by their ids."""
    return {entry.id.encode(): _kept(entry) for entry in entries}


def _kept(entry: KeyEntry) -> _ActiveKey:
    identity = Identity(
        name=entry.name,
        method="keys",
        tenant=entry.tenant,
        groups=entry.groups,
        key_id=entry.id,
        models=entry.models,
        routes=entry.routes,
        limits=entry.limits,
        role=entry.role,
    )
    return _ActiveKey(bytes.fromhex(entry.hash.removeprefix("sha256:")), entry.ends_at(), identity)
