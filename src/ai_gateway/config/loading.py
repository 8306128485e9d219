"""Reads config.yml: bytes in, a checked Config out, or every reason to refuse it with its path."""

import ipaddress
import math
import re
from collections.abc import Iterator
from itertools import chain, starmap
from pathlib import Path
from typing import Any, Final, get_type_hints

import msgspec

from ai_gateway.config import audit as audit_section
from ai_gateway.config.access_check import check_access
from ai_gateway.config.browser_check import check_browsers
from ai_gateway.config.choices import choices
from ai_gateway.config.discovery_check import check_discovery
from ai_gateway.config.files import FileSnapshot, file_reasons, named_files, signatures
from ai_gateway.config.limits import limits_reasons
from ai_gateway.config.model_names import check_limited
from ai_gateway.config.paths import expanded
from ai_gateway.config.plain_types import plain
from ai_gateway.config.protection import Parsed
from ai_gateway.config.reading import Unreadable, read, shown
from ai_gateway.config.reason import MOST_REASONS, ConfigReason, bounded, failure_reason
from ai_gateway.config.reconcile_check import check_reconcile
from ai_gateway.config.sections import simplified
from ai_gateway.config.threads import pause_for_others
from ai_gateway.config.types import Config, Model, model_name
from ai_gateway.config.units import KEEP_ALIVE, ByteCount, FilePath, KeepAlive, ModelId, Pause, Period, Seconds
from ai_gateway.config.yaml_text import YamlError, read_yaml
from ai_gateway.wire.hosts import split_listen, would_collide
from ai_gateway.wire.names import is_model_name, ollama_name

FILE_NAME: Final = "config.yml"  # in a folder
MAX_BYTES: Final = 1 << 20
MODELS_AT_ONCE: Final = 50  # then other threads may go on
MAX_SECONDS: Final = 10**9  # more is a typing mistake, and the event loop cannot wait for ever

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_KEEP_ALIVE: Final = re.compile(KEEP_ALIVE)
_UNIT_SECONDS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZE: Final = re.compile(r"(\d+)(|B|KiB|MiB|GiB|KB|MB|GB)")
_UNIT_BYTES: Final = {
    "": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "KB": 10**3, "MB": 10**6, "GB": 10**9,
}  # fmt: skip
# YAML reads `1.5`, `13`, `on` and `2024-01-01` as these types.
_TAKEN_FOR_OTHERS: Final = tuple(f"got `{kind}`" for kind in ("float", "int", "bool", "date", "datetime"))
_MSGSPEC_PATH: Final = re.compile(r" - at (?:`key` in )?`\$([^`]*)`$")


class ConfigError(Exception):
    """The content is not a valid config; `reasons` lists all that the gateway found.

    If a file that it names is the cause, `snapshot` holds all files that it names: a change of one may help.
    """

    def __init__(self, reasons: list[ConfigReason], snapshot: FileSnapshot | None = None) -> None:
        self.reasons = bounded(reasons)
        self.snapshot = snapshot or FileSnapshot()
        super().__init__("; ".join(map(str, self.reasons)))


def load(path: Path) -> Config:
    """The config in a file, or in the `config.yml` of a folder. Raises ConfigError, also if it cannot read it."""
    return load_whole(path).config


def load_whole(path: Path) -> Parsed:
    """As `load`, with the paths that the file sets."""
    try:
        content = read(path / FILE_NAME if path.is_dir() else path, MAX_BYTES).data
    except Unreadable as failure:
        raise ConfigError([ConfigReason("", str(failure))]) from None
    except OSError as error:  # from the check for a folder
        raise ConfigError([ConfigReason("", f"cannot read {shown(path)}: {error.strerror}")]) from None
    return parse_whole(content)


def parse(content: bytes) -> Config:
    """The config in the bytes of a YAML file. Raises ConfigError and nothing else."""
    return parse_whole(content).config


def parse_whole(content: bytes) -> Parsed:
    """As `parse`, with the paths that the file sets."""
    try:
        return _parse(content)
    except ConfigError:
        raise
    except Exception as failure:  # the author of the file must see it, whatever a check raises
        raise ConfigError([ConfigReason("", failure_reason(failure))]) from failure


def _parse(content: bytes) -> Parsed:
    raw, written, reasons = simplified(_yaml(content), Config)
    refused = {reason.path.partition(".")[0] for reason in reasons}
    parts: dict[str, Any] = {}
    hints = get_type_hints(Config, include_extras=True)
    for key, value in raw.items():
        if len(reasons) > MOST_REASONS:
            break
        if key in refused:
            continue
        if key == "models" and isinstance(value, dict):
            parts["models"] = _models(value, reasons)
        elif key in hints:
            parts[key] = _convert(value, hints[key], key, reasons)
        else:
            reasons.append(ConfigReason(str(key), f"unknown key; the known keys are {', '.join(hints)}"))
    if reasons:
        raise ConfigError(reasons)
    config = Config(**parts)
    files = tuple(named.file for named in named_files(config))
    snapshot = FileSnapshot(files, signatures(files))  # taken before the files are read, so that it misses no change
    of_files = file_reasons(config)
    reasons = bounded(chain(_check(config), of_files))
    if reasons:
        raise ConfigError(reasons, snapshot if of_files else None)
    return Parsed(config, written)


def _yaml(content: bytes) -> dict[Any, Any]:
    if len(content) > MAX_BYTES:
        raise ConfigError([ConfigReason("", f"the file is larger than {MAX_BYTES} bytes")])
    try:
        raw = read_yaml(content)
    except YamlError as failure:
        raise ConfigError([ConfigReason("", str(failure))]) from None
    if raw is None or raw == {}:
        # The file may be cut or half written. An empty file must not turn off everything.
        raise ConfigError([ConfigReason("", "is empty: set at least one key, such as `models`")])
    if not isinstance(raw, dict):
        raise ConfigError([ConfigReason("", "the top level must be a mapping of keys such as `models`")])
    return raw


def _models(value: dict[Any, Any], reasons: list[ConfigReason]) -> dict[str, Model]:
    models = {}
    for number, (model_id, entry) in enumerate(value.items()):
        if number % MODELS_AT_ONCE == 0:
            pause_for_others()
        if len(reasons) > MOST_REASONS:
            break
        path = f"models.{model_id}"
        checked = _convert({model_id: entry if entry is not None else {}}, dict[ModelId, Model], path, reasons)
        if checked:
            models.update(checked)
    return models


def _convert(value: Any, kind: Any, path: str, reasons: list[ConfigReason]) -> Any:
    try:
        return msgspec.convert(value, kind, dec_hook=_decode_unit)
    except msgspec.ValidationError as error:
        reasons.append(_reason(str(error), path, kind))
        return None


def _reason(text: str, path: str, kind: Any) -> ConfigReason:
    """msgspec's ``Expected `str`, got `int` - at `$.version` `` as a path and a sentence."""
    found = _MSGSPEC_PATH.search(text)
    if found:
        text = text[: found.start()]
    words = choices(kind, found[1] if found else "")
    if words and text.startswith(("Invalid enum value", "Expected `str")):
        text += f"; use one of {', '.join(words)}"
    if found:
        tail = found[1].removeprefix("[...]") if path.startswith("models.") else found[1]
        path += tail
    if text.startswith("Expected `str") and text.endswith(_TAKEN_FOR_OTHERS):
        text += " (put it in quotes)"
    return ConfigReason(path, plain(text.replace("Object contains unknown field", "unknown key")))


def _decode_unit(kind: type, value: Any) -> Any:
    if kind is Seconds:
        return _seconds(value)
    if kind is Pause:
        return pause(value)
    if kind is Period:
        return Period(math.inf if value == "never" else _seconds(value, "a duration above 0, or never"))
    if kind is ByteCount:
        return _byte_count(value)
    if kind is KeepAlive:
        return _keep_alive(value)
    if kind is FilePath:
        return _file_path(value)
    raise NotImplementedError(kind)  # a type of the config without a reader is a bug


def pause(value: Any) -> Pause:
    """A duration that may be 0, as config.yml and flags have it. Raises ValueError."""
    if isinstance(value, str) and value.replace(".", "", 1).isdigit():
        value = float(value)
    if value in (0, "0s") and not isinstance(value, bool):
        return Pause(0)
    return Pause(_seconds(value, "a duration or 0"))


def _seconds(value: Any, wanted: str = "a duration above 0") -> Seconds:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= MAX_SECONDS:
        return Seconds(value)
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if not found or not 0 < float(found[1]) <= MAX_SECONDS:
        raise ValueError(f"{value!r} is not {wanted}; write one such as 500ms, 30s, 5m or 1h, or a number of seconds")
    return Seconds(float(found[1]) * _UNIT_SECONDS[found[2]])


def _byte_count(value: Any) -> ByteCount:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return ByteCount(value)
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if not found or int(found[1]) == 0:
        raise ValueError(f"{value!r} is not a size above 0; write one such as 512KiB or 20MiB, or a number of bytes")
    return ByteCount(int(found[1]) * _UNIT_BYTES[found[2]])


def _keep_alive(value: Any) -> KeepAlive:
    """Ollama's api.Duration: a number of seconds, or a text that Go's time.ParseDuration takes."""
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if not _KEEP_ALIVE.fullmatch(text) or not text.strip("-0.nusmh"):
        raise ValueError(
            f"{value!r} is not a time that Ollama keeps a model; write one such as 10m, 24h or 1h30m, a number of "
            "seconds, or -1 for ever"
        )
    return KeepAlive(text)


def _file_path(value: Any) -> FilePath:
    if not isinstance(value, str):
        kind = "null" if value is None else type(value).__name__
        raise ValueError(f"Expected `str`, got `{kind}`")  # the same words as for other types
    return FilePath(expanded(value))


def _check(config: Config) -> Iterator[ConfigReason]:
    """Checks that the types cannot make."""
    yield from _check_models(config.models)
    yield from _check_shared(config.models)
    yield from _check_listening(config)
    yield from check_reconcile(config)
    yield from check_discovery(config.discovery)
    yield from check_browsers(config)
    yield from check_access(config)
    yield from starmap(ConfigReason, limits_reasons(config.limits, config.models, config.catalog.discover))
    yield from check_limited(config)
    yield from (ConfigReason(f"audit.{key}", failure) for key, failure in audit_section.reasons(config.audit))
    for index, network in enumerate(config.trusted_proxies):
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError:
            yield ConfigReason(f"trusted_proxies[{index}]", f"{network!r} is not an IP address or network")
    if config.body.buffered_bytes < config.body.max_bytes:
        yield ConfigReason(
            "body.buffered_bytes", "is smaller than body.max_bytes, so the largest body could never pass: raise it"
        )


def _check_models(models: dict[str, Model]) -> Iterator[ConfigReason]:
    owners = dict.fromkeys(models, "the id of a model")
    for model_id, model in models.items():
        path = f"models.{model_id}"
        if model.ollama and ":" in model.ollama.rpartition("/")[2] and model.version != "latest":
            yield ConfigReason(f"{path}.version", f"`ollama: {model.ollama}` already names a tag: remove `version`")
        elif not is_model_name(model_name(model_id, model)):
            yield ConfigReason(
                path,
                f"{model_name(model_id, model)!r} is not a name that Ollama accepts: set `ollama` and `version`",
            )
        for alias in model.aliases:
            if alias in owners:
                yield ConfigReason(f"{path}.aliases", f"{alias!r} is already {owners[alias]}")
            owners[alias] = f"an alias of {model_id}"


def _check_shared(models: dict[str, Model]) -> Iterator[ConfigReason]:
    """Several ids of one Ollama model share its slots and its queue."""
    first: dict[str, str] = {}
    for model_id, model in models.items():
        other = first.setdefault(ollama_name(model_name(model_id, model)), model_id)
        for key in ("slots", "max_waiting"):
            if getattr(model, key) != getattr(models[other], key):
                yield ConfigReason(
                    f"models.{model_id}.{key}",
                    f"must be the same as for {other!r}, because both ids mean the same Ollama model",
                )


def _check_listening(config: Config) -> Iterator[ConfigReason]:
    named = {key: address for key in ("listen", "admin") if (address := getattr(config, key)) is not None}
    for key, address in tuple(named.items()):
        try:
            split_listen(address)
        except ValueError as error:
            yield ConfigReason(key, str(error))
            del named[key]
    if len(named) == 2 and would_collide(named["listen"], named["admin"]):
        yield ConfigReason("admin", f"{named['admin']!r} is already used by `listen`: choose another port")
