"""Reads config.yml: bytes in, a checked Config out, or every complaint with the path it is about."""

import ipaddress
import re
from collections.abc import Iterator
from itertools import starmap
from pathlib import Path
from typing import Any, Final, get_type_hints

import msgspec

from ai_gateway.config import auditing
from ai_gateway.config.access_check import check_access
from ai_gateway.config.complaint import Complaint
from ai_gateway.config.limiting import limits_complaints
from ai_gateway.config.model_names import check_limited
from ai_gateway.config.types import Config, Discovery, Model, StaticUpstream, Tls, model_name
from ai_gateway.config.units import ByteCount, ModelId, Pause, Seconds
from ai_gateway.config.yaml_text import YamlFault, read_yaml
from ai_gateway.wire.address import parse_url
from ai_gateway.wire.names import canonical, is_model_name

MAX_BYTES: Final = 1 << 20
MAX_SECONDS: Final = 10**9  # more is a slip, and the event loop cannot wait for ever

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT_SECONDS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZE: Final = re.compile(r"(\d+)(|B|KiB|MiB|GiB|KB|MB|GB)")
_UNIT_BYTES: Final = {
    "": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "KB": 10**3, "MB": 10**6, "GB": 10**9,
}  # fmt: skip
_LISTEN: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]*):(\d{1,5})")
_DNS_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.\-]*://[^/\s]+")
_MSGSPEC_PATH: Final = re.compile(r" - at (?:`key` in )?`\$([^`]*)`$")


class ConfigError(Exception):
    """The content is not a valid config; `complaints` says all that was found."""

    def __init__(self, complaints: list[Complaint]) -> None:
        super().__init__("; ".join(map(str, complaints)))
        self.complaints = complaints


def load(path: Path) -> Config:
    """The config in a file. Raises ConfigError, also for a file that cannot be read."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError([Complaint("", f"cannot read {path}: {error.strerror}")]) from None
    return parse(content)


def parse(content: bytes) -> Config:
    """The config in the bytes of a YAML file. Raises ConfigError."""
    raw = _yaml(content)
    complaints: list[Complaint] = []
    parts: dict[str, Any] = {}
    hints = get_type_hints(Config, include_extras=True)
    for key, value in raw.items():
        if key == "models" and isinstance(value, dict):
            parts["models"] = _models(value, complaints)
        elif key in hints:
            parts[key] = _convert(value, hints[key], key, complaints)
        else:
            complaints.append(Complaint(str(key), f"unknown key; known are {', '.join(hints)}"))
    if not complaints:
        config = Config(**parts)
        complaints = list(_check(config))
    if complaints:
        raise ConfigError(complaints)
    return config


def _yaml(content: bytes) -> dict[Any, Any]:
    if len(content) > MAX_BYTES:
        raise ConfigError([Complaint("", f"larger than {MAX_BYTES} bytes")])
    try:
        raw = read_yaml(content)
    except YamlFault as fault:
        raise ConfigError([Complaint("", str(fault))]) from None
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise ConfigError([Complaint("", "the top level must be a mapping of keys such as `models`")])
    return raw


def _models(value: dict[Any, Any], complaints: list[Complaint]) -> dict[str, Model]:
    models = {}
    for model_id, entry in value.items():
        path = f"models.{model_id}"
        checked = _convert({model_id: entry if entry is not None else {}}, dict[ModelId, Model], path, complaints)
        if checked:
            models.update(checked)
    return models


def _convert(value: Any, wanted: Any, path: str, complaints: list[Complaint]) -> Any:
    try:
        return msgspec.convert(value, wanted, dec_hook=_decode_unit)
    except msgspec.ValidationError as error:
        complaints.append(_complaint(str(error), path))
        return None


def _complaint(text: str, path: str) -> Complaint:
    """msgspec's ``Expected `str`, got `int` - at `$.version` `` as a path and a sentence."""
    found = _MSGSPEC_PATH.search(text)
    if found:
        text = text[: found.start()]
        tail = found[1].removeprefix("[...]") if path.startswith("models.") else found[1]
        path += tail
    if "Expected `str" in text and ("got `float`" in text or "got `int`" in text):
        text += " (put it in quotes)"
    return Complaint(path, text.replace("Object contains unknown field", "unknown key"))


def _decode_unit(wanted: type, value: Any) -> Any:
    if wanted is Seconds:
        return _seconds(value)
    if wanted is Pause:
        return pause(value)
    if wanted is ByteCount:
        return _byte_count(value)
    raise NotImplementedError(wanted)  # a type of the config without a reader would be a fault of ours


def pause(value: Any) -> Pause:
    """A duration that may be 0, as config.yml and flags have it. Raises ValueError."""
    if isinstance(value, str) and value.replace(".", "", 1).isdigit():
        value = float(value)
    if value in (0, "0s") and not isinstance(value, bool):
        return Pause(0)
    return Pause(_seconds(value))


def _seconds(value: Any) -> Seconds:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= MAX_SECONDS:
        return Seconds(value)
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if not found or not 0 < float(found[1]) <= MAX_SECONDS:
        raise ValueError(f"{value!r} is no duration above 0 such as 500ms, 30s, 5m, 1h or a number of seconds")
    return Seconds(float(found[1]) * _UNIT_SECONDS[found[2]])


def _byte_count(value: Any) -> ByteCount:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return ByteCount(value)
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if not found or int(found[1]) == 0:
        raise ValueError(f"{value!r} is no size above 0 such as 512KiB, 20MiB or a number of bytes")
    return ByteCount(int(found[1]) * _UNIT_BYTES[found[2]])


def _check(config: Config) -> Iterator[Complaint]:
    """What the types alone cannot say."""
    yield from _check_models(config.models)
    yield from _check_shared(config.models)
    yield from _check_listening(config)
    yield from _check_discovery(config.discovery)
    yield from _check_tls(config.tls)
    yield from check_access(config)
    yield from starmap(Complaint, limits_complaints(config.limits, config.models, config.catalog.discover))
    yield from check_limited(config)
    yield from (Complaint(f"audit.{key}", fault) for key, fault in auditing.faults(config.audit))
    for index, network in enumerate(config.trusted_proxies):
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError:
            yield Complaint(f"trusted_proxies[{index}]", f"{network!r} is no IP address or network")
    if config.body.buffered_bytes < config.body.max_bytes:
        yield Complaint("body.buffered_bytes", "smaller than body.max_bytes: a body of that size could never pass")


def _check_models(models: dict[str, Model]) -> Iterator[Complaint]:
    owners = dict.fromkeys(models, "an id of its own")
    for model_id, model in models.items():
        path = f"models.{model_id}"
        if model.ollama and ":" in model.ollama.rpartition("/")[2] and model.version != "latest":
            yield Complaint(f"{path}.version", f"`ollama: {model.ollama}` already names a tag")
        elif not is_model_name(model_name(model_id, model)):
            yield Complaint(
                path,
                f"{model_name(model_id, model)!r} is no name that Ollama accepts; set `ollama` and `version`",
            )
        for alias in model.aliases:
            if alias in owners:
                yield Complaint(f"{path}.aliases", f"{alias!r} is already {owners[alias]}")
            owners[alias] = f"an alias of {model_id}"


def _check_shared(models: dict[str, Model]) -> Iterator[Complaint]:
    """Ids of one Ollama model share its slots and its queue."""
    first: dict[str, str] = {}
    for model_id, model in models.items():
        other = first.setdefault(canonical(model_name(model_id, model)), model_id)
        for key in ("slots", "max_waiting"):
            if getattr(model, key) != getattr(models[other], key):
                yield Complaint(
                    f"models.{model_id}.{key}", f"must be the same as of {other!r}, which is the same model"
                )


def _check_listening(config: Config) -> Iterator[Complaint]:
    for key in ("listen", "admin"):
        address = getattr(config, key)
        found = _LISTEN.fullmatch(address) if address is not None else None
        if address is not None and (found is None or int(found[1]) > 65535):
            yield Complaint(key, f"{address!r} is not HOST:PORT, :PORT or [IPV6]:PORT")
    for index, origin in enumerate(config.cors.origins):
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            yield Complaint(f"cors.origins[{index}]", f"{origin!r} is no origin such as https://app.example")


def _check_discovery(discovery: Discovery | None) -> Iterator[Complaint]:
    named = [key for key in ("static", "dns", "kubernetes") if discovery and getattr(discovery, key) is not None]
    if len(named) > 1:
        yield Complaint("discovery", f"only one of {', '.join(named)} can be used")
    kubernetes = discovery and discovery.kubernetes
    if kubernetes:
        if (kubernetes.mode == "endpointslices") != (kubernetes.service is not None):
            yield Complaint("discovery.kubernetes.service", "goes with mode endpointslices, which needs it")
        for index, namespace in enumerate(kubernetes.namespaces):
            if not _DNS_LABEL.fullmatch(namespace):
                yield Complaint(f"discovery.kubernetes.namespaces[{index}]", f"{namespace!r} is no namespace")
    for index, upstream in enumerate((discovery and discovery.static) or ()):
        path = f"discovery.static[{index}]"
        entry = upstream if isinstance(upstream, StaticUpstream) else StaticUpstream(url=upstream)
        try:
            parse_url(entry.url)
        except ValueError as error:
            yield Complaint(path, str(error))
        if entry.ca_file and not Path(entry.ca_file).is_file():
            yield Complaint(f"{path}.ca_file", f"there is no file {entry.ca_file}")


def _check_tls(tls: Tls | None) -> Iterator[Complaint]:
    if tls:
        for key in ("certificate", "key", "client_ca"):
            if getattr(tls, key) is not None and not Path(getattr(tls, key)).is_file():
                yield Complaint(f"tls.{key}", f"there is no file {getattr(tls, key)}")
