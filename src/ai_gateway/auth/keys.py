"""API keys, checked against the hashes in their file; nothing is looked up on the disk for a request."""

import hashlib
import hmac
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from ai_gateway.auth.identity import Identity
from ai_gateway.auth.keys_file import ID_LENGTH, MAX_BYTES, PREFIX, Entry, KeysError, read_entries

log = logging.getLogger("ai_gateway.auth")

_PREFIX: Final = PREFIX.encode()
_ID: Final = slice(len(PREFIX), len(PREFIX) + ID_LENGTH)
_NO_HASH: Final = b"\0" * 32


class _Kept(msgspec.Struct, frozen=True):
    digest: bytes
    ends_at: float  # Unix seconds: what an operator writes is a date
    identity: Identity


_NOBODY: Final = _Kept(_NO_HASH, 0.0, Identity("", "keys"))


class Keys:
    """The keys in force. Changed by `take`; a file that is nonsense changes nothing, `complaint` says why."""

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self._wall_clock = wall_clock
        self._kept: dict[bytes, _Kept] = {}
        self.complaint: str | None = "the file of keys was not read yet"
        self.loaded_at: float | None = None  # Unix seconds

    @property
    def count(self) -> int:
        """How many there are, those that ended too."""
        return len(self._kept)

    def fits(self, token: bytes) -> bool:
        """Everything that is no JWT may be meant for a key."""
        return token.startswith(_PREFIX) or token.count(b".") != 2

    async def identify(self, token: bytes) -> Identity | None:
        """See Method."""
        return self.find(token)

    def find(self, token: bytes) -> Identity | None:
        """Whose key it is. The same work is done for a known and an unknown id, and for no key at all."""
        digest = hashlib.sha256(token).digest()
        kept = self._kept.get(token[_ID], _NOBODY)
        is_right = hmac.compare_digest(digest, kept.digest)
        return kept.identity if is_right and self._wall_clock() < kept.ends_at else None

    def take(self, content: bytes) -> None:
        """Puts a file's content in force. Raises KeysError, and the last good one stays."""
        kept = {entry.id.encode(): _kept(entry) for entry in read_entries(content)}
        self._kept = kept
        self.complaint = None
        self.loaded_at = self._wall_clock()


class KeysFile:
    """A file of keys that is followed: looked at in a thread, since a mount may hang. Changes `keys`."""

    def __init__(self, path: Path, keys: Keys) -> None:
        self._path = path
        self._keys = keys
        self._content: bytes | None = None

    def read(self) -> bytes:
        """The content, whose size is bounded. Raises OSError. Blocks."""
        with self._path.open("rb") as file:
            return file.read(MAX_BYTES + 1)

    def take(self, content: bytes | OSError) -> None:
        """Puts what was read in force if it is new; tells of trouble once."""
        if isinstance(content, OSError):
            self._complain(f"cannot read {self._path}: {content.strerror}")
            return
        if content == self._content:
            return
        self._content = content
        try:
            self._keys.take(content)
        except KeysError as error:
            self._complain(f"{self._path}: {error}")
            return
        log.info("%d keys are in force, from %s", self._keys.count, self._path)

    def _complain(self, complaint: str) -> None:
        if complaint != self._keys.complaint:
            log.error("keys: the last good ones stay in force: %s", complaint)
        self._keys.complaint = complaint
        self._content = None if complaint.startswith("cannot read") else self._content


def _kept(entry: Entry) -> _Kept:
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
    return _Kept(bytes.fromhex(entry.hash.removeprefix("sha256:")), entry.ends_at(), identity)
