"""API keys, checked against the hashes in the keys file. Requests never read the disk."""

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
from ai_gateway.config.threads import release_slowly
from ai_gateway.config.watched_file import WatchedFile

log = logging.getLogger("ai_gateway.auth")

_PREFIX: Final = PREFIX.encode()
_ID: Final = slice(len(PREFIX), len(PREFIX) + ID_LENGTH)
_NO_HASH: Final = b"\0" * 32


class _ActiveKey(msgspec.Struct, frozen=True):
    digest: bytes
    ends_at: float  # Unix seconds, because operators write dates
    identity: Identity


KeysById = dict[bytes, _ActiveKey]

_NO_KEY: Final = _ActiveKey(_NO_HASH, 0.0, Identity("", "keys"))


class Keys:
    """The keys in force. Only `take` and `put` change them; an invalid file changes nothing, and `reason` says why.

    Until a file was read it cannot identify any caller.
    """

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self._wall_clock = wall_clock
        self._keys: KeysById | None = None
        self.reason: str | None = "the gateway has not read the keys file yet"

    @property
    def count(self) -> int | None:
        """How many keys there are, expired ones included; None until a file was read."""
        return None if self._keys is None else len(self._keys)

    def fits(self, token: bytes) -> bool:
        """Any token that is not a JWT may be a key."""
        return token.startswith(_PREFIX) or token.count(b".") != 2

    def close(self) -> None:
        """It has nothing to release."""

    async def identify(self, token: bytes) -> Identity | None:
        """See Method."""
        if self._keys is None and token:
            raise Unavailable("the gateway has never read the keys file")
        return self.find(token)

    def find(self, token: bytes) -> Identity | None:
        """The identity for a key. It does the same work for known ids, unknown ids and an empty token."""
        digest = hashlib.sha256(token).digest()
        kept = (self._keys or {}).get(token[_ID], _NO_KEY)
        is_right = hmac.compare_digest(digest, kept.digest)
        return kept.identity if is_right and self._wall_clock() < kept.ends_at else None

    def take(self, entries: tuple[KeyEntry, ...]) -> None:
        """Replaces all keys with these."""
        self.put(keys_by_id(entries))

    def put(self, found: KeysById) -> None:
        """Replaces all keys with the result of `keys_by_id`."""
        before, self._keys = self._keys, found
        self.reason = None
        if before is not None:
            release_slowly([before, *before.values()])


class KeysFile:
    """Follows a keys file. Call `read` in a thread: a mount may hang, and a long file takes a while to parse.

    Call `take` in the event loop; it puts the keys in force. It waits for a complete file (see `watched_file`): half a
    file may lack the line that revokes its last key.
    """

    def __init__(self, path: Path, keys: Keys, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._keys = keys
        self._file = WatchedFile(path, MAX_BYTES, clock=clock)
        self._seen: bytes | None = None

    @property
    def pause_seconds(self) -> float:
        """Time until the next read."""
        return self._file.pause_seconds

    def read(self) -> KeysById | str | None:
        """Its keys, or the reason to refuse it, or None: it has not changed, or is not complete."""
        try:
            content = self._file.check()
        except Unreadable as failure:
            self._seen = None
            return str(failure)
        if content is None or content == self._seen:
            return None
        self._seen = content
        try:
            return keys_by_id(read_entries(content))
        except KeysError as error:
            return f"{shown(self._path)}: {error}"

    def reread(self) -> None:
        """The next `read` reads the whole file again."""
        self._seen = None
        self._file.expect_change()

    def take(self, found: KeysById | str | None) -> None:
        """Puts keys in force, or logs the reason once."""
        if isinstance(found, str):
            if found != self._keys.reason:
                log.error("keys: the last good ones stay in force: %s", found)
            self._keys.reason = found
        elif found is not None:
            self._keys.put(found)
            log.info("%d keys are in force, from %s", len(found), shown(self._path))


def keys_by_id(entries: tuple[KeyEntry, ...]) -> KeysById:
    """The keys of these entries by their ids."""
    return {entry.id.encode(): _active_key(entry) for entry in entries}


def _active_key(entry: KeyEntry) -> _ActiveKey:
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
