"""JSON as Go reads and writes it, as Ollama's clients see it.

Reading: keys match fields in any case (U+017F counts as s, U+212A as k), the last of several wins, and everything
after the first value is ignored. Writing: compact, with `<`, `>`, `&`, U+2028 and U+2029 escaped.
"""

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from ai_gateway.simulator.go_syntax import syntax_text
from ai_gateway.simulator.refusals import Unreadable

_encode = msgspec.json.Encoder().encode


def encode(value: object) -> bytes:
    """A value as Go's `json.Marshal` writes it."""
    try:
        text = _encode(value)
    except UnicodeEncodeError:  # half of a surrogate pair came in as an escape; Go reads it as U+FFFD
        text = json.dumps(value, separators=(",", ":"), default=vars).encode()
    if b"<" in text or b">" in text or b"&" in text:
        text = text.replace(b"<", b"\\u003c").replace(b">", b"\\u003e").replace(b"&", b"\\u0026")
    if b"\xe2\x80" in text:
        text = text.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    return text


class Pairs(dict[str, Any]):
    """A JSON object that also keeps all keys in their order, repeated ones included."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs


_decoder = json.JSONDecoder(object_pairs_hook=Pairs, strict=False)


def decode(body: bytes) -> Any:
    """The first JSON value of a body; objects are `Pairs`. Raises `Refusal` with text like Go's."""
    text = body.decode("utf-8", "replace").lstrip(" \t\r\n")
    if not text:
        raise Unreadable("EOF")
    try:
        return _decoder.raw_decode(text)[0]
    except json.JSONDecodeError as error:
        raise Unreadable(syntax_text(text, error)) from error
    except RecursionError as error:
        raise Unreadable("exceeded max depth") from error


def fold(key: str) -> str:
    """A key as Go compares it."""
    return key.lower().replace("\u017f", "s")


_GO_TYPES = {
    "messages": "openai.Message",
    "tools": "api.Tool",
    "stream_options": "openai.StreamOptions",
    "response_format": "openai.ResponseFormat",
    "reasoning": "openai.Reasoning",
}
_KINDS: dict[type, str] = {str: "string", bool: "bool", int: "number", float: "number", list: "array"}


class Fields:
    """The fields of one Go struct, read from a JSON object. Every getter raises `Refusal` 400 on a wrong type.

    `struct` is the name that Go puts into its messages, such as `openai.ChatCompletionRequest`.
    """

    __slots__ = ("_struct", "_values")

    def __init__(self, value: Any, struct: str) -> None:
        if not isinstance(value, Pairs):
            raise Unreadable(f"json: cannot unmarshal {kind(value)} into Go value of type {struct}")
        self._struct = struct.removeprefix("openai.").removeprefix("api.")
        self._values: dict[str, Any] = {fold(key): item for key, item in value.pairs}

    def raw(self, name: str) -> Any:
        """The value, of any type; None if there is none."""
        return self._values.get(name)

    def text(self, name: str) -> str:
        """A string, "" if there is none."""
        value = self._expect(name, str, "string")
        return "" if value is None else str(value)

    def flag(self, name: str) -> bool:
        """A bool, False if there is none."""
        return bool(self._expect(name, bool, "bool"))

    def optional_flag(self, name: str) -> bool | None:
        """A bool, None if there is none."""
        value = self._expect(name, bool, "bool")
        return None if value is None else bool(value)

    def whole(self, name: str) -> int | None:
        """A whole number, None if there is none; raises for 10.0, as Go does."""
        value = self._values.get(name)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._wrong(name, value, "int")
        return value

    def number(self, name: str) -> float | None:
        """A number, None if there is none."""
        value = self._values.get(name)
        if value is None:
            return None
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self._wrong(name, value, "float64")
        return float(value)

    def inner(self, name: str) -> "Fields | None":
        """A nested struct, None if there is none."""
        value = self._values.get(name)
        if value is None:
            return None
        if not isinstance(value, Pairs):
            raise self._wrong(name, value, _GO_TYPES.get(name, "object"))
        return Fields(value, f"{self._struct}.{name}")

    def each(self, name: str) -> Iterator["Fields"]:
        """The structs of a list; none if the list is absent."""
        go_type = _GO_TYPES.get(name, "object")
        for value in self._expect(name, list, f"[]{go_type}") or ():
            if not isinstance(value, Pairs):
                raise self._wrong(name, value, go_type)
            yield Fields(value, f"{self._struct}.{name}")

    def _expect(self, name: str, wanted: type, go_type: str) -> Any:
        value = self._values.get(name)
        if value is not None and not isinstance(value, wanted):
            raise self._wrong(name, value, go_type)
        return value

    def _wrong(self, name: str, value: Any, go_type: str) -> Unreadable:
        found = f"number {value}" if go_type == "int" and kind(value) == "number" else kind(value)
        return Unreadable(
            f"json: cannot unmarshal {found} into Go struct field {self._struct}.{name} of type {go_type}"
        )


def kind(value: Any) -> str:
    """Go's word for the type of a JSON value."""
    if value is None:
        return "null"
    return _KINDS.get(type(value), "object")
