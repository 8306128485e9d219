"""Reads the answers of /api/version, /api/tags, /api/ps and /api/show (api/types.go in ollama/ollama).

Reading any answer is cheap: its bytes are limited before they come here, its lists are counted before they become
objects, and only known fields of each entry are read, with bounded texts.
"""

import re
from collections.abc import Iterable
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final

import msgspec

from ai_gateway.balancing.resident import HeldModel, Resident, Weights
from ai_gateway.wire.names import is_model_name, ollama_name
from ai_gateway.wire.unreadable import UNREADABLE

MOST_MODELS: Final = 2000  # of one endpoint
MAX_NAME: Final = 512  # characters; Ollama allows 593 for host, namespace, model and tag, but no real name is so long
MAX_FACT: Final = 128  # characters of a digest, a family, a version

MOST_CAPABILITIES: Final = 32
MAX_CAPABILITY: Final = 64  # characters
MAX_PARAMETERS: Final = 64 << 10  # bytes of a model's own parameters; stop words are the longest
LONGEST_CONTEXT: Final = 1 << 31  # tokens

_MOST_COMMAS: Final = 40 * MOST_MODELS  # an entry of Ollama's has 15 to 25
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
# The model's own file comes first; projectors have lines of the same form after it. Old versions write a colon.
_FROM: Final = re.compile(r"^FROM (.*)$", re.MULTILINE)
_BLOB: Final = re.compile(r".*[/\\]blobs[/\\]sha256[-:]([0-9a-f]{64})\s*")
_MAX_TO_FROM: Final = 16 << 10  # characters: three lines of comment and a path
# Go writes floats of seven digits and more with an exponent: 1.048576e+06.
_NUM_CTX: Final = re.compile(r"^num_ctx[ \t]+([0-9][0-9.e+]{0,24})$", re.MULTILINE)
# The other options of a runner (api/types.go, Runner). What is written as Ollama's default is as if it were not.
_OPTIONS: Final = re.compile(r"^(main_gpu|num_batch|num_gpu|num_thread|use_mmap)[ \t]+(\S{1,24})$", re.MULTILINE)
_USUAL: Final = frozenset((("main_gpu", "0"), ("num_batch", "512"), ("num_gpu", "-1"), ("num_thread", "0")))


class BadInventory(Exception):
    """An endpoint's answer cannot be used; the text is the reason."""


class _Version(msgspec.Struct):
    version: msgspec.Raw = msgspec.Raw()


class _List(msgspec.Struct):
    models: list[msgspec.Raw]


class _ListedModel(msgspec.Struct):
    name: msgspec.Raw = msgspec.Raw()
    digest: msgspec.Raw = msgspec.Raw()
    size: msgspec.Raw = msgspec.Raw()
    size_vram: msgspec.Raw = msgspec.Raw()
    modified_at: msgspec.Raw = msgspec.Raw()
    expires_at: msgspec.Raw = msgspec.Raw()
    details: msgspec.Raw = msgspec.Raw()
    capabilities: msgspec.Raw = msgspec.Raw()
    remote_host: msgspec.Raw = msgspec.Raw()
    remote_model: msgspec.Raw = msgspec.Raw()
    context_length: msgspec.Raw = msgspec.Raw()


class _Details(msgspec.Struct):
    format: msgspec.Raw = msgspec.Raw()
    family: msgspec.Raw = msgspec.Raw()
    parameter_size: msgspec.Raw = msgspec.Raw()
    quantization_level: msgspec.Raw = msgspec.Raw()


class _Shown(msgspec.Struct):
    modelfile: msgspec.Raw
    details: msgspec.Raw
    parameters: msgspec.Raw = msgspec.Raw()


_read_version = msgspec.json.Decoder(_Version).decode
_read_list = msgspec.json.Decoder(_List).decode
_read_entry = msgspec.json.Decoder(_ListedModel).decode
_read_details = msgspec.json.Decoder(_Details).decode
_read_shown = msgspec.json.Decoder(_Shown).decode
_read_texts = msgspec.json.Decoder(list[msgspec.Raw]).decode
_read_text = msgspec.json.Decoder(str).decode
_read_number = msgspec.json.Decoder(int).decode


def read_version(body: bytes) -> str | None:
    """The version in an answer of /api/version; None if it is not a short text. Raises BadInventory."""
    try:
        version = _read_version(readable(body)).version
    except UNREADABLE:
        version = msgspec.Raw()
    if not bytes(version):
        raise BadInventory("/api/version is not Ollama's")
    return text_of(version) or None


def read_list(body: bytes) -> list[msgspec.Raw]:
    """The entries of /api/tags or /api/ps, not decoded. Raises BadInventory."""
    if body.count(b",") > _MOST_COMMAS:
        raise BadInventory(f"lists more than {MOST_MODELS} models")
    try:
        entries = _read_list(readable(body)).models
    except UNREADABLE:
        raise BadInventory("is not Ollama's list") from None
    if len(entries) > MOST_MODELS:
        raise BadInventory(f"lists more than {MOST_MODELS} models")
    return entries


def readable(body: bytes) -> bytes:
    """The body, if all of it is UTF-8; the decoder does not check skipped values. Raises UnicodeDecodeError."""
    if not body.isascii():
        body.decode()
    return body


def read_models(entries: Iterable[msgspec.Raw]) -> dict[str, HeldModel]:
    """Entries of /api/tags as models by Ollama's name, without entries that are not models."""
    held = {}
    for raw in entries:
        entry, name = _named(raw)
        if name is not None:
            held[ollama_name(name)] = _held_model(entry, name)
    return held


def read_residents(entries: Iterable[msgspec.Raw]) -> dict[str, Resident]:
    """Entries of /api/ps as loaded models by Ollama's name, without entries that are not models."""
    loaded = {}
    for raw in entries:
        entry, name = _named(raw)
        if name is not None:
            resident = _resident(entry, ollama_name(name))
            loaded[resident.name] = resident
    return loaded


def read_weights(body: bytes) -> Weights | None:
    """An answer of /api/show as what the model is made of; None if it is not Ollama's."""
    try:
        shown = _read_shown(readable(body))
        written = _read_text(shown.modelfile)
        details = _read_details(shown.details)
    except UNREADABLE:
        return None
    form = text_of(details.format) or "gguf"
    parameters = _parameters(shown.parameters)
    return Weights(_blob(written) if form == "gguf" else "", _num_ctx(parameters), form, _options(parameters))


def unix_seconds(date: bytes) -> float | None:
    """An HTTP date as Unix seconds; None if it is none."""
    try:
        read = parsedate_to_datetime(date[:MAX_FACT].decode())
    except (ValueError, OverflowError):
        return None
    return None if read.tzinfo is None else read.timestamp()


def text_of(raw: msgspec.Raw, longest: int = MAX_FACT) -> str:
    """A printable text; "" for any other value and for a longer text."""
    if not 0 < len(bytes(raw)) <= 6 * longest + 2:  # an escape has six bytes
        return ""
    try:
        text = _read_text(raw)
    except UNREADABLE:
        return ""
    return text if len(text) <= longest and text.isprintable() else ""


def _named(raw: msgspec.Raw) -> tuple[_ListedModel, str | None]:
    """An entry and its name; None as the name if Ollama cannot have sent it."""
    try:
        entry = _read_entry(raw)
    except UNREADABLE:
        return _ListedModel(), None
    name = text_of(entry.name, MAX_NAME)
    return entry, name if is_model_name(name) else None


def _held_model(entry: _ListedModel, name: str) -> HeldModel:
    try:
        details = _read_details(entry.details)
    except UNREADABLE:
        details = _Details()
    return HeldModel(
        name=name,
        digest=text_of(entry.digest),
        size=number_of(entry.size) or 0,
        modified=int(_unix_seconds(text_of(entry.modified_at)) or 0),
        family=text_of(details.family),
        parameter_size=text_of(details.parameter_size),
        quantization=text_of(details.quantization_level),
        is_remote=_is_said(entry.remote_host) or _is_said(entry.remote_model),
        is_embedding=_is_embedding(texts_of(entry.capabilities), text_of(details.family)),
    )


def _resident(entry: _ListedModel, name: str) -> Resident:
    return Resident(
        name=name,
        digest=text_of(entry.digest),
        size=number_of(entry.size) or 0,
        size_vram=number_of(entry.size_vram) or 0,
        context_length=number_of(entry.context_length) or None,
        expires_at=_unix_seconds(text_of(entry.expires_at)),
    )


def _is_embedding(capabilities: tuple[str, ...], family: str) -> bool:
    """Whether a model only makes vectors. Up to 0.24 /api/tags has no capabilities; then the family tells of most."""
    if capabilities:
        return "embedding" in capabilities and "completion" not in capabilities
    return "bert" in family or "embedding" in family


def texts_of(raw: msgspec.Raw) -> tuple[str, ...]:
    """A short list of capabilities, without those that are no short texts; none for any other value."""
    if bytes(raw).count(b",") >= MOST_CAPABILITIES:
        return ()
    try:
        texts = _read_texts(raw)
    except UNREADABLE:
        return ()
    return tuple(filter(None, (text_of(text, MAX_CAPABILITY) for text in texts)))


def _blob(modelfile: str) -> str:
    """The SHA-256 of the model's file, from the first FROM line of its Modelfile; "" if that names no blob."""
    line = _FROM.search(modelfile[:_MAX_TO_FROM])
    named = None if line is None else _BLOB.fullmatch(line[1])
    return "" if named is None else named[1]


def _parameters(raw: msgspec.Raw) -> str:
    """A model's parameters: lines of a name, blanks and a value as Go writes it."""
    try:
        return _read_text(raw) if 0 < len(bytes(raw)) <= MAX_PARAMETERS else ""
    except UNREADABLE:
        return ""


def _options(parameters: str) -> str:
    return " ".join(" ".join(found) for found in sorted(set(_OPTIONS.findall(parameters)) - _USUAL))


def _num_ctx(parameters: str) -> int | None:
    found = _NUM_CTX.search(parameters)
    try:
        tokens = 0.0 if found is None else float(found[1])
    except ValueError:
        return None
    return int(tokens) if 1 <= tokens <= LONGEST_CONTEXT and tokens.is_integer() else None


def number_of(raw: msgspec.Raw) -> int | None:
    """A whole number from 0 to 2**63; None for any other value."""
    if not 0 < len(bytes(raw)) <= 20:
        return None
    try:
        number = _read_number(raw)
    except UNREADABLE:
        return None
    return number if 0 <= number < 1 << 63 else None


def _is_said(raw: msgspec.Raw) -> bool:
    return bytes(raw) not in (b"", b'""', b"null", b"false", b"0")


def _unix_seconds(text: str) -> float | None:
    """Unix seconds of an RFC 3339 time; None if it is none, or lies before 1970 as Go's empty time does.

    Go writes up to 9 digits of a second and the server's zone.
    """
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    try:
        seconds = datetime.fromisoformat(found[1] + found[3]).timestamp() + float(found[2] or 0)
    except (ValueError, OverflowError):
        return None
    return seconds if seconds >= 0 else None
