"""Makes the tables of docs/configuration.md from the types of config.yml."""

from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from ai_gateway.config import access, balancing, limits, log, reconcile, serving, types
from ai_gateway.config.audit import AuditSection
from ai_gateway.config.types import RESTART_KEYS, Config
from ai_gateway.config.units import ByteCount, FilePath, KeepAlive, Pause, Period, Seconds, Section

_HEAD: Final = "| key | value | default | a change | meaning |\n|---|---|---|---|---|\n"
_SECTIONS: Final[dict[str, type[Section]]] = {
    "": Config,
    "models.<id>": types.Model,
    "models.<id>.timeouts": types.ModelTimeouts,
    "models.<id>.parameters": reconcile.Parameters,
    "reconcile": reconcile.Reconcile,
    "catalog": types.Catalog,
    "discovery": types.Discovery,
    "discovery.static[]": types.StaticUpstream,
    "discovery.dns": types.Dns,
    "discovery.kubernetes": types.Kubernetes,
    "timeouts": types.Timeouts,
    "balancing": balancing.Balancing,
    "queue": balancing.Queue,
    "polling": balancing.Polling,
    "body": types.Body,
    "limits": limits.LimitsSection,
    "limits.default": limits.RateLimits,
    "limits.redis": limits.Redis,
    "cors": serving.Cors,
    "connections": serving.Connections,
    "tls": serving.Tls,
    "auth": access.Auth,
    "auth.oidc": access.Oidc,
    "callers[]": access.CallerRule,
    "callers[].match": access.Match,
    "compatibility": types.Compatibility,
    "drain": types.Drain,
    "log": log.Log,
    "audit": AuditSection,
}
# Keys whose types have no description.
_MEANINGS: Final = {
    "models.<id>.max_waiting": "overrides `queue.max_waiting` for this model",
    "models.<id>.timeouts": "overrides `timeouts` for this model, see below",
    "discovery.static[].url": "http or https, with the path before `/api` and `/v1` if there is one. Default port: "
    "11434 (https: 443)",
    "discovery.static[].ca_file": "CA bundle in PEM for its certificate; replaces the system's",
    "discovery.dns.port": "port of every address",
    "tls.certificate": "file in PEM, with the whole chain",
    "tls.key": "file in PEM, without a passphrase",
}
_WORDS: Final[dict[Any, str]] = {
    str: "text",
    FilePath: "path",
    bool: "true or false",
    int: "whole number",
    float: "number",
    Seconds: "duration",
    Pause: "duration or 0",
    Period: "duration or `never`",
    ByteCount: "size",
    KeepAlive: "Ollama's duration",
}
# Mappings whose keys are the user's own names.
_NAMED: Final[dict[Any, str]] = {types.Model: "ids with their models", limits.RateLimits: "names with their limits"}


def keys() -> list[str]:
    """The path of every key of config.yml, as in the tables."""
    return [_path(section, field.encode_name) for section in _SECTIONS for field in _fields(section)]


def as_text() -> str:
    """One table for each section, in Markdown."""
    return "\n".join(_table(section) for section in _SECTIONS)


def _fields(section: str) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(_SECTIONS[section])


def _path(section: str, key: str) -> str:
    return f"{section}.{key}" if section else key


def _table(section: str) -> str:
    title = f"`{section}`" if section else "The top level"
    reason = (_SECTIONS[section].__doc__ or "").replace(" *restart*", " Restart").strip()
    rows = "".join(_row(section, field) for field in _fields(section))
    return f"### {title}\n\n{reason}\n\n{_HEAD}{rows}"


def _row(section: str, field: msgspec.structs.FieldInfo) -> str:
    path = _path(section, field.encode_name)
    change = "restart" if path.partition(".")[0] in RESTART_KEYS else "live"
    cells = (f"`{field.encode_name}`", _value(field.type), _default(field), change, _meaning(path, field))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _meaning(path: str, field: msgspec.structs.FieldInfo) -> str:
    description = next((meta.description for meta in _metas(field.type) if meta.description), None)
    if description is not None:
        return description.removesuffix(" *restart*")
    if path.startswith("models.<id>.timeouts."):
        return f"overrides `timeouts.{field.encode_name}`"
    if path in _MEANINGS:
        return _MEANINGS[path]
    part = _part(field.type)
    return (part.__doc__ or "").partition(".")[0] if part else ""


def _metas(kind: Any) -> Iterator[Meta]:
    for argument in get_args(kind):
        if isinstance(argument, Meta):
            yield argument
    if get_origin(kind) in (Annotated, Union, UnionType):
        for argument in get_args(kind):
            yield from _metas(argument)


def _part(kind: Any) -> type[Section] | None:
    """The section that a value of this type holds, if any."""
    if isinstance(kind, type) and issubclass(kind, Section):
        return kind
    return next(filter(None, map(_part, get_args(kind))), None)


def _value(kind: Any) -> str:
    """The values that a key takes, in words."""
    if get_origin(kind) is Annotated:
        bounds = (_bounds(meta) for meta in get_args(kind) if isinstance(meta, Meta))
        return _value(get_args(kind)[0]) + "".join(bounds)
    if get_origin(kind) is Literal:
        return " or ".join(f"`{word}`" for word in get_args(kind))
    arguments = [argument for argument in get_args(kind) if argument not in (NoneType, Ellipsis)]
    if get_origin(kind) is tuple:
        return f"list of {_value(arguments[0])}"
    if get_origin(kind) is dict:
        return _NAMED.get(arguments[1]) or f"a {_value(arguments[1])} each"
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(map(_value, arguments))
    return _WORDS.get(kind, "section")


def _bounds(meta: Meta) -> str:
    if meta.ge is None:
        return ""
    return f", {_plain(meta.ge)} or more" if meta.le is None else f", {_plain(meta.ge)} to {_plain(meta.le)}"


def _plain(bound: float) -> str:
    """Whole numbers to the last digit."""
    return str(bound) if isinstance(bound, int) else f"{bound:g}"


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if value is None or isinstance(value, Section):
        return ""
    return f"`{_in_units(value)}`"


def _in_units(value: Any) -> str:
    """A default as you would write it in config.yml, in the unit that makes it shortest."""
    if isinstance(value, Seconds):
        if not value:
            return "0"
        if not value % 86400:
            return f"{value / 86400:g}d"
        if not value % 3600:
            return f"{value / 3600:g}h"
        return f"{value / 60:g}m" if not value % 60 else f"{value:g}s"
    if isinstance(value, ByteCount):
        sizes = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B"))
        return next(f"{value // size}{unit}" for size, unit in sizes if not value % size)
    if isinstance(value, tuple):
        return "[]" if not value else msgspec.json.encode(value).decode()
    return str(value) if isinstance(value, str) else msgspec.json.encode(value).decode()
