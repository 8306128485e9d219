"""The file of API keys: who has one, its hash, and what it may do. `ai-gateway keys` writes it, the gateway reads it.

A key is `aigw_ID_SECRET`. The id (8 letters and digits) finds the entry; the hash is the SHA-256 of the whole key,
which needs no slow function: the secret is 256 bits of chance.
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
from ai_gateway.config.units import Section
from ai_gateway.config.yaml_text import YamlError, read_yaml

MAX_BYTES: Final = 1 << 20  # what a Secret can hold
PREFIX: Final = "aigw_"
ID_LENGTH: Final = 8
SECRET_LENGTH: Final = 43  # of 62 letters and digits: 256 bits

_LETTERS: Final = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_HASH: Final = r"^sha256:[0-9a-f]{64}\Z"


class KeysError(ValueError):
    """The file cannot be read or is no file of keys; the text is for a person and holds no key."""


class KeyEntry(Section, frozen=True, omit_defaults=True):
    """One key. `name` is the caller's name; during a rotation two keys may have the same one."""

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
        """When it stops working, in Unix seconds; infinity if it has no end."""
        if self.revoked is not None:
            return float("-inf")
        return float("inf") if self.expires is None else self.expires.timestamp()

    def status(self, now: datetime) -> str:
        """`active`, `expired` or `revoked`."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "active"


class _File(Section, frozen=True):
    keys: tuple[KeyEntry, ...]  # an empty file is a mistake, and no reason to let nobody in


def read_entries(content: bytes) -> tuple[KeyEntry, ...]:
    """The entries of a file's content. Raises KeysError."""
    if len(content) > MAX_BYTES:
        raise KeysError(f"larger than {MAX_BYTES} bytes")
    try:
        raw = read_yaml(content)
        if raw is None or raw == {}:
            raise KeysError("is empty; a file without a key says so: `keys: []`")
        found = msgspec.convert(raw, _File)
    except YamlError:
        raise KeysError("not valid YAML, or a key of it stands twice") from None  # its own words would show a line
    except msgspec.ValidationError as error:
        raise KeysError(f"not a file of keys: {_in_short(str(error))}") from None
    except KeysError:
        raise
    except Exception as failure:  # whatever it is, the last good keys stay; its words would show a line
        raise KeysError(f"cannot be read: {type(failure).__name__}") from None
    seen: set[str] = set()
    for entry in found.keys:
        if entry.id in seen:
            raise KeysError(f"the id {entry.id} stands twice")
        seen.add(entry.id)
        for moment in (entry.created, entry.expires, entry.revoked):
            if moment is not None and moment.tzinfo is None:
                raise KeysError(f"a time of {entry.id} names no time zone")
    return found.keys


def _in_short(reason: str) -> str:
    """What is wrong and where, without anything that stands in the file: somebody may have put a key there."""
    found = re.search(r" - at `(\$[\w.\[\]]*)`$", reason)
    is_plain = reason.startswith(("Expected", "Object missing required field"))
    words = reason[: found.start() if found else None] if is_plain else "a field or value that is not known"
    hint = " (put it in quotes)" if words.startswith("Expected `str") and "got `null`" not in words else ""
    return f"{words} at {found[1]}{hint}" if found else words


def write_entries(entries: tuple[KeyEntry, ...]) -> str:
    """The file's content for these entries."""
    listed: list[Any] = [msgspec.to_builtins(entry, builtin_types=(datetime,)) for entry in entries]
    return yaml.safe_dump({"keys": [_plain(entry) for entry in listed]}, sort_keys=False, allow_unicode=True)


def _plain(entry: dict[str, Any]) -> dict[str, Any]:
    """Lists as YAML has them, without what is not set."""
    plain: dict[str, Any] = {key: list(value) if isinstance(value, tuple) else value for key, value in entry.items()}
    if "limits" in plain:
        plain["limits"] = {kind: limit for kind, limit in plain["limits"].items() if limit is not None}
    return plain


def new_key() -> tuple[str, str]:
    """A key and its id."""
    key_id = "".join(secrets.choice(_LETTERS) for _ in range(ID_LENGTH))
    return f"{PREFIX}{key_id}_{''.join(secrets.choice(_LETTERS) for _ in range(SECRET_LENGTH))}", key_id


def hash_of(key: bytes) -> str:
    """What the file holds of a key."""
    return "sha256:" + hashlib.sha256(key).hexdigest()
