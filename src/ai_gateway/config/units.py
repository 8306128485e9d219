"""The parts of the types of config.yml: units, bounded numbers, and sections that refuse unknown keys."""

from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta


class Seconds(float):
    """A duration in seconds; in YAML a number of seconds or text such as `250ms`, `2s`, `5m`, `1h`, `30d`."""


class Pause(Seconds):
    """A duration that may be 0."""


class Period(Seconds):
    """A duration, or `never`, which is endless."""


class ByteCount(int):
    """A size in bytes; in YAML a number of bytes or text such as `64KiB`, `20MiB`, `1GB`."""


class FilePath(str):
    """A file or folder; a leading `~` means the home folder, as in a shell."""

    __slots__ = ()


class KeepAlive(str):
    """How long Ollama keeps a model, as its API takes it: seconds, or a Go duration (`1h30m`); below 0 for ever."""

    __slots__ = ()


# A number of seconds, or what Go's time.ParseDuration takes.
KEEP_ALIVE: Final = r"^-?([0-9]+|([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+)$"


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of config.yml: frozen, and it refuses unknown keys."""


T = TypeVar("T")


def default(value: T) -> T:
    """A default that msgspec need not encode; `schema` writes it into the JSON Schema."""
    return msgspec.field(default_factory=lambda: value)


PositiveInt = Annotated[int, Meta(ge=1)]
ModelId = Annotated[str, Meta(min_length=1, max_length=256, pattern=r"^[^\s\x00-\x1f\x7f]+$")]
HeaderName = Annotated[str, Meta(max_length=128, pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]  # RFC 9110, a token
