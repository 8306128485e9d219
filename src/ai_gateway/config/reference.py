"""docs/configuration.md, its tables made from the types of config.yml: `python -m ai_gateway.config.reference`."""

from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from ai_gateway.config import access, limits, serving, types
from ai_gateway.config.audit import AuditSection
from ai_gateway.config.types import RESTART_KEYS, Config
from ai_gateway.config.units import ByteCount, FilePath, Pause, Seconds, Section

_INTRODUCTION: Final = """\
---
layout: docs
title: Configuration
description: config.yml, key by key, with defaults and units; what a change does, and when it takes effect.
nav_order: 3
---

# Configuration

One file says which models are served and how. `ai-gateway serve` reads `config.yml` in the current folder, or what
`--config` names. Every key has a default but the models themselves:

```yaml
models:
  llama3:                 # the id that clients ask for
    version: latest       # Ollama's tag: llama3:latest
  coder:
    ollama: codellama     # Ollama's name, where it differs from the id
    version: 13b
    max_tokens: 2048      # token limit of an answer when the request names none
    aliases: [code]       # further ids for the same model
    timeouts: {queue: 2m} # for this model alone
  embed: {ollama: nomic-embed-text}
discovery:
  static:
    - http://10.1.0.5:11434
    - url: https://ollama.example:443
      ca_file: /etc/ssl/private-ca.pem
```

## Names of models

A client asks for a model by its id or an alias. Spelt exactly it is what the config says. Else the name is read as
Ollama reads names, whatever the case and with or without `registry.ollama.ai/` and `library/`, and with the model's own
`version` for a tag:

| config | answers | does not |
|---|---|---|
| `llama3: {}` | `llama3`, `llama3:latest`, `LLAMA3`, `library/llama3` | `llama3:8b` |
| `llama3: {version: 8b}` | `llama3`, `llama3:8b`, `Llama3:8B` | `llama3:latest` |
| `coder: {ollama: codellama, version: 13b}` | `coder`, `coder:13b` | `codellama:13b`, unless `catalog.discover` |

Whatever it is asked by, it is one model: limits, rights, `max_tokens`, slots, queue and name in metrics are those of
the id. With `catalog.discover` Ollama's name of a model in `models` is that model, too; where two ids are the same
model to Ollama, the first one. A model that is in no config is known by Ollama's name in lower case. Names of the cloud
(`:cloud`, `-cloud`) are found by the config alone.

Two ids that are equal but for case are both served, each by its exact name, and any other spelling finds the first:
`check` and the log warn of them.

## Checked, then in force

A file is taken whole or not at all. Unknown keys, doubled keys, wrong types and impossible values are refused, each
with its path:

```console
$ ai-gateway check config.yml
config.yml: models.coder.version: Expected `str`, got `int` (put it in quotes)
```

A section with nothing in it, where every line is commented out, counts as absent. `auth`, `callers` and `limits` are
refused then: what protects is turned off in words alone (`auth: {methods: [none]}`, `callers: all`, `limits: none`),
and never by leaving it out of a file that is reloaded ([Turning it off](security.md#turning-it-off)).

A path may begin with `~` for a home, as in a shell. Files that it names must be there and of use, such as a CA bundle
or a TLS key without a pass phrase; a config that is refused for one is checked again when that file comes or changes.

An editor can do the same while you write: [config.schema.json](../config.schema.json) is a JSON Schema made from the
same types. A file has 1 MiB, 200,000 keys and values, and 16 levels at most. YAML aliases (`*name`) and merge keys
(`<<`) are refused, since a page of them can stand for gigabytes; so are tags (`!name`) but YAML's own for plain values.

**An empty file is no config.** A file without a key is refused: no bytes, only spaces or comments, `null`, `{}`,
`---`. It may have been cut, and everything in force would be off. `models: {}` is the shortest config that there is.

## Live changes

The file is looked at twice a second, also when it is a symbolic link that is swapped, as a ConfigMap's is. New
content that is valid takes effect; calls under way finish under the old one. Content that is not valid changes
nothing: the log and `GET /v1/health` say what is wrong, and the last good config stays in force.

A file that is half written must not be taken for a whole one:

| what happens to the file | it is taken |
|---|---|
| it is there when the gateway starts | at once |
| another file (`mv`, most editors, `sed -i`) or another link (a ConfigMap) takes its place | within a second |
| the ConfigMap is followed through the API (`--configmap`) | at once |
| it is written in its place (`cp`, `>`, some editors), or comes after the start | when it has rested for a second |

To be sure of the moment, write the new file beside the old one and `mv` it there. The same holds for the keys file: a
key that is not in it any more is refused from then on. A file that never rests is told in `GET /v1/health`. What is no
file, such as a FIFO or a device, is refused and never waited for.

A few things are bound or opened once. The tables mark their keys **restart**: a change is accepted, the log and
`restart_required` in `GET /v1/health` name it, and it takes effect with the next start. All other keys are **live**.
The two files of `tls` are read again when they change, without a restart. `kill -HUP` has config and certificates read
again at once, changed or not ([Leaving](kubernetes.md#leaving) tells of terminals).

## Units

A **duration** is a number of seconds, or text: `250ms`, `2s`, `5m`, `1h`, `30d`. A **size** is a number of bytes, or
text: `64KiB`, `20MiB`, `1GB`. An empty default means: not set.

## Every key

"""
_HEAD: Final = "| key | value | default | a change | meaning |\n|---|---|---|---|---|\n"
_SECTIONS: Final[dict[str, type[Section]]] = {
    "": Config,
    "models.<id>": types.Model,
    "models.<id>.timeouts": types.ModelTimeouts,
    "catalog": types.Catalog,
    "discovery": types.Discovery,
    "discovery.static[]": types.StaticUpstream,
    "discovery.dns": types.Dns,
    "discovery.kubernetes": types.Kubernetes,
    "timeouts": types.Timeouts,
    "balancing": types.Balancing,
    "queue": types.Queue,
    "polling": types.Polling,
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
    "log": types.Log,
    "audit": AuditSection,
}
# What the types leave to their names.
_MEANINGS: Final = {
    "models.<id>.max_waiting": "in place of `queue.max_waiting`",
    "models.<id>.timeouts": "in place of those in `timeouts`, see below",
    "discovery.static[].url": "http or https, with a path before `/api` and `/v1` if there is one; port 11434 unless "
    "named (https: 443)",
    "discovery.static[].ca_file": "CA bundle in PEM that its certificate is checked against, in place of the system's",
    "discovery.dns.port": "of every one of its addresses",
    "tls.certificate": "file in PEM, the chain included",
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
    ByteCount: "size",
}
# What stands under names of the user's own.
_NAMED: Final[dict[Any, str]] = {types.Model: "ids with their models", limits.RateLimits: "names with their limits"}


def keys() -> list[str]:
    """Every key of config.yml by its path, as the tables name them."""
    return [_path(section, field.encode_name) for section in _SECTIONS for field in _fields(section)]


def as_text() -> str:
    """The page, in Markdown."""
    return _INTRODUCTION + "\n".join(_table(section) for section in _SECTIONS)


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
    told = next((meta.description for meta in _metas(field.type) if meta.description), None)
    if told is not None:
        return told.removesuffix(" *restart*")
    if path.startswith("models.<id>.timeouts."):
        return f"in place of `timeouts.{field.encode_name}`"
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
    """What may stand there, in words."""
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
    return f", {meta.ge:g} or more" if meta.le is None else f", {meta.ge:g} to {meta.le:g}"


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if value is None or isinstance(value, Section):
        return ""
    return f"`{_in_units(value)}`"


def _in_units(value: Any) -> str:
    """A default as config.yml would have it, in a unit that leaves it short."""
    if isinstance(value, Seconds):
        if not value % 86400:
            return f"{value / 86400:g}d"
        return f"{value / 60:g}m" if not value % 60 else f"{value:g}s"
    if isinstance(value, ByteCount):
        sizes = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B"))
        return next(f"{value // size}{unit}" for size, unit in sizes if not value % size)
    if isinstance(value, tuple):
        return "[]" if not value else msgspec.json.encode(value).decode()
    return str(value) if isinstance(value, str) else msgspec.json.encode(value).decode()


if __name__ == "__main__":
    print(as_text(), end="")
