"""Reads the answers of /api/version, /api/tags and /api/ps (api/types.go in ollama/ollama).

Reading any answer is cheap: its bytes are limited before they come here, its lists are counted before they become
objects, and only known fields of each entry are read, with bounded texts.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

import msgspec

from ai_gateway.balancing.endpoint import HeldModel
from ai_gateway.wire.names import is_model_name, ollama_name
from ai_gateway.wire.unreadable import UNREADABLE

MOST_MODELS: Final = 2000  # of one endpoint
MAX_NAME: Final = 512  # characters; Ollama allows 593 for host, namespace, model and tag, but no real name is so long
MAX_FACT: Final = 128  # characters of a digest, a family, a version

_MOST_COMMAS: Final = 40 * MOST_MODELS  # an entry of Ollama's has 15 to 25


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
    modified_at: msgspec.Raw = msgspec.Raw()
    details: msgspec.Raw = msgspec.Raw()
    remote_host: msgspec.Raw = msgspec.Raw()
    remote_model: msgspec.Raw = msgspec.Raw()
    context_length: msgspec.Raw = msgspec.Raw()


class _Details(msgspec.Struct):
    family: msgspec.Raw = msgspec.Raw()
    parameter_size: msgspec.Raw = msgspec.Raw()
    quantization_level: msgspec.Raw = msgspec.Raw()


_read_version = msgspec.json.Decoder(_Version).decode
_read_list = msgspec.json.Decoder(_List).decode
_read_entry = msgspec.json.Decoder(_ListedModel).decode
_read_details = msgspec.json.Decoder(_Details).decode
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


def read_residents(entries: Iterable[msgspec.Raw]) -> frozenset[str]:
    """Entries of /api/ps as Ollama's names of loaded models, without entries that are not models."""
    return frozenset(ollama_name(name) for _, name in map(_named, entries) if name is not None)


def read_contexts(entries: Iterable[msgspec.Raw]) -> dict[str, int]:
    """Entries of /api/ps as the context of each loaded model, by Ollama's name, if Ollama sends it."""
    named = ((number_of(entry.context_length), name) for entry, name in map(_named, entries))
    return {ollama_name(name): context for context, name in named if name is not None and context}


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
        modified=_unix_seconds(text_of(entry.modified_at)),
        family=text_of(details.family),
        parameter_size=text_of(details.parameter_size),
        quantization=text_of(details.quantization_level),
        is_remote=_is_said(entry.remote_host) or _is_said(entry.remote_model),
    )


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


def _unix_seconds(text: str) -> int:
    """Unix seconds of an RFC 3339 time; Go writes up to 9 digits of a second, Python reads 6."""
    try:
        return int(datetime.fromisoformat(text[:19] + "+00:00").timestamp())
    except ValueError:
        return 0
