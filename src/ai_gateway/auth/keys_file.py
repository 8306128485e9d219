"""The keys file: names, hashes and rights of API keys. `ai-gateway keys` writes it, and the gateway reads it.

A key is `aigw_ID_SECRET`. The id (8 letters and digits) finds the entry. The hash is the SHA-256 of the whole key. It
needs no slow function, because the secret has 256 random bits.
"""

import hashlib
import re
import secrets
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
import yaml
from msgspec import Meta

from ai_gateway.config.access import ModelPatterns, Role, Route
from ai_gateway.config.limits import RateLimits
from ai_gateway.config.plain_types import plain
from ai_gateway.config.units import Section
from ai_gateway.config.yaml_text import YamlError, read_yaml

MAX_BYTES: Final = 1 << 20  # what a Secret can hold
PREFIX: Final = "aigw_"
ID_LENGTH: Final = 8
SECRET_LENGTH: Final = 43  # of 62 letters and digits: 256 bits

_LETTERS: Final = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_HASH: Final = r"^sha256:[0-9a-f]{64}\Z"


class KeysError(ValueError):
    """The keys file is invalid; the text is the reason and contains no key."""


class KeyEntry(Section, frozen=True, omit_defaults=True):
    """One key. `name` is the caller's name; during a rotation two keys may share it."""

    id: Annotated[str, Meta(pattern=r"^[0-9A-Za-z]{8}\Z")]
    name: Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[^\s\x00-\x1f\x7f]+\Z")]
    hash: Annotated[str, Meta(pattern=_HASH)]
    created: datetime | None = None
    expires: datetime | None = None
    revoked: datetime | None = None
    tenant: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    groups: tuple[str, ...] = ()
    models: ModelPatterns | None = None
    routes: tuple[Route, ...] | None = None
    limits: RateLimits | None = None
    role: Role = "user"

    def ends_at(self) -> float:
        """When it expires, in Unix seconds; infinity if never."""
        if self.revoked is not None:
            return float("-inf")
        return float("inf") if self.expires is None else self.expires.timestamp()

    def status(self, now: datetime) -> str:
        """`active`, `expired` or `revoked`."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "active"


class _File(Section, frozen=True):
    keys: tuple[KeyEntry, ...]  # required: an empty file is a mistake, and must not lock everyone out


def read_entries(content: bytes) -> tuple[KeyEntry, ...]:
    """The entries of a file's content. Raises KeysError."""
    if len(content) > MAX_BYTES:
        raise KeysError(f"larger than {MAX_BYTES} bytes")
    try:
        raw = read_yaml(content)
        if raw is None or raw == {}:
            raise KeysError("is empty; write `keys: []` for a file without keys")
        found = msgspec.convert(raw, _File)
    except YamlError:
        raise KeysError("not valid YAML, or it has a duplicate key") from None  # the original text would show a line
    except msgspec.ValidationError as error:
        raise KeysError(f"not a keys file: {_in_short(str(error))}") from None
    except KeysError:
        raise
    except Exception as failure:  # the last good keys stay; the original text would show a line
        raise KeysError(f"cannot be read: {type(failure).__name__}") from None
    seen: set[str] = set()
    for entry in found.keys:
        if entry.id in seen:
            raise KeysError(f"it has the id {entry.id} twice")
        seen.add(entry.id)
        for moment in (entry.created, entry.expires, entry.revoked):
            if moment is not None and moment.tzinfo is None:
                raise KeysError(f"a time of the key {entry.id} has no time zone")
    return found.keys


def _in_short(reason: str) -> str:
    """What is wrong and where, without any content of the file: it may contain a key."""
    found = re.search(r" - at `(\$[\w.\[\]]*)`$", reason)
    is_plain = reason.startswith(("Expected", "Object missing required field"))
    words = reason[: found.start() if found else None] if is_plain else "an unknown field or value"
    hint = " (put it in quotes)" if words.startswith("Expected `str") and "got `null`" not in words else ""
    words = plain(words)
    return f"{words} at {found[1]}{hint}" if found else words


def write_entries(entries: tuple[KeyEntry, ...]) -> str:
    """The file's content for these entries."""
    listed: list[Any] = [msgspec.to_builtins(entry, builtin_types=(datetime,)) for entry in entries]
    return yaml.safe_dump({"keys": [_plain(entry) for entry in listed]}, sort_keys=False, allow_unicode=True)


def _plain(entry: dict[str, Any]) -> dict[str, Any]:
    """The entry as plain YAML, without limits that are not set."""
    plain: dict[str, Any] = {key: list(value) if isinstance(value, tuple) else value for key, value in entry.items()}
    if "limits" in plain:
        plain["limits"] = {kind: limit for kind, limit in plain["limits"].items() if limit is not None}
    return plain


def new_key() -> tuple[str, str]:
    """A new key and its id."""
    key_id = "".join(secrets.choice(_LETTERS) for _ in range(ID_LENGTH))
    return f"{PREFIX}{key_id}_{''.join(secrets.choice(_LETTERS) for _ in range(SECRET_LENGTH))}", key_id


def hash_of(key: bytes) -> str:
    """The hash of a key as the file stores it."""
    return "sha256:" + hashlib.sha256(key).hexdigest()
