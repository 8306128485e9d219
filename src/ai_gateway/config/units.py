"""The units of config.yml, and what its sections are made of."""

from typing import TypeVar

import msgspec


class Seconds(float):
    """A duration in seconds; in YAML a number of seconds or text such as `250ms`, `2s`, `5m`, `1h`, `30d`."""


class Pause(Seconds):
    """A duration that may be 0: none at all."""


class ByteCount(int):
    """A size in bytes; in YAML a number of bytes or text such as `64KiB`, `20MiB`, `1GB`."""


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of config.yml: frozen, and no key in it goes unread."""


T = TypeVar("T")


def default(value: T) -> T:
    """A default that msgspec need not encode: `schema` writes it into the JSON Schema itself."""
    return msgspec.field(default_factory=lambda: value)
