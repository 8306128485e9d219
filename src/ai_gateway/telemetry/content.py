"""Prompts and answers for spans, kept only if the operator turns it on, and cut to a size.

Shapes: gen_ai.input.messages and gen_ai.output.messages of semantic conventions 1.41.1 (messages with parts, as JSON).
Media are named, never kept. Unreadable content is left out: it must not make a call fail.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from ai_gateway.wire.call import Call
from ai_gateway.wire.unreadable import UNREADABLE

MAX_TEXT: Final = 16 << 10  # characters of each direction
MAX_READ_BYTES: Final = 1 << 20  # of a prompt; longer prompts are not read a second time
MOST_AGAIN: Final = 128 << 10  # likewise of the later items of a long list
_CUT: Final = "…"

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

Feed = Callable[[bytes], bytes]
Part = dict[str, Any]


class KeptContent:
    """The content of one call, at most `most` characters of the prompt, and of each kind of part of the answer.

    Each kind has its own room: before redaction, more of a text must be kept than the length to which it will be cut.
    Changed by `wrap_feed` and `answer`, as the answer arrives.
    """

    def __init__(self, call: Call, most: int = MAX_TEXT) -> None:
        self._asked = _asked(call, most)
        self._texts: dict[str, list[str]] = {"reasoning": [], "text": []}
        self._tool_calls: list[Part] = []
        self._finish_reason: str | None = None
        self._left = {"reasoning": most, "text": most, "tool_calls": most}

    def asked(self) -> str | None:
        """gen_ai.input.messages."""
        return self._asked

    def answered(self) -> str | None:
        """gen_ai.output.messages; None if there was no answer."""
        kinds = (kind for kind, texts in self._texts.items() if texts)
        parts = [{"type": kind, "content": "".join(self._texts[kind])} for kind in kinds]
        parts += self._tool_calls
        if not parts:
            return None
        message = {"role": "assistant", "finish_reason": self._finish_reason or "error", "parts": parts}
        return _encode([message]).decode()

    def wrap_feed(self, feed: Feed) -> Feed:
        """A stream's `feed` that also keeps the content it passes on."""

        def keep(data: bytes) -> bytes:
            events = feed(data)
            for event in events.split(b"\n\n"):
                if event.startswith(b"data: {") and (self._left["text"] > 0 or b'"finish_reason":"' in event):
                    self.answer(event[6:], "delta")
            return events

        return keep

    def answer(self, body: bytes, part: str = "message") -> None:
        """Keeps a whole answer, or a piece of one."""
        try:
            choices = _decode(body).get("choices")
        except (*UNREADABLE, AttributeError):
            return
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                self._finish_reason = choice.get("finish_reason") or self._finish_reason
                said = choice.get(part, choice)  # a text completion's choice has the text itself
                self._note(said if isinstance(said, dict) else {})

    def _note(self, said: dict[str, Any]) -> None:
        for kind, keys in (("reasoning", ("reasoning",)), ("text", ("content", "text"))):
            for key in keys:
                text = said.get(key)
                if isinstance(text, str) and text and self._left[kind] > 0:
                    self._texts[kind].append(_cut(text, self._left[kind]))
                    self._left[kind] -= len(text)
        for call in _listed(said.get("tool_calls")):
            if (left := self._left["tool_calls"]) > 0:
                parts = _tool_call(call, left)
                self._tool_calls += parts
                self._left["tool_calls"] -= sum(map(_size, parts))


def _asked(call: Call, most: int) -> str | None:
    if not call.operation.writes_tokens:
        return None
    messages: list[Part] = []
    left, read = most, 0
    for raw in call.prompts(4 * most):
        if not raw or read + len(raw) > MAX_READ_BYTES or (read > MOST_AGAIN + 2 * most):
            break
        read += len(raw)
        try:
            content = _decode(raw)
        except UNREADABLE:
            return None
        for message in content if isinstance(content, list) else [{"role": "user", "content": content}]:
            if isinstance(message, dict) and left > 0:
                parts = list(_parts(message, left))
                left -= sum(map(_size, parts))
                messages.append({"role": str(message.get("role", ""))[:64], "parts": parts})
        if left <= 0:
            break
    return _encode(messages).decode() if read else None


def _parts(message: dict[str, Any], left: int) -> Iterator[Part]:
    content = message.get("content")
    if message.get("role") == "tool" and isinstance(content, str):
        yield {"type": "tool_call_response", "id": message.get("tool_call_id"), "response": _cut(content, left)}
        return
    for piece in content if isinstance(content, list) else [content]:
        text = piece.get("text") if isinstance(piece, dict) else piece
        if isinstance(text, str):
            yield {"type": "text", "content": _cut(text, left)}
            left -= len(text)
        elif isinstance(piece, dict):
            yield {"type": "blob", "modality": "image"}
    for call in _listed(message.get("tool_calls")):
        for part in _tool_call(call, left):
            yield part
            left -= _size(part)


def _tool_call(call: Any, left: int) -> list[Part]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return []
    arguments = _cut(str(function.get("arguments", "")), left)
    return [{"type": "tool_call", "id": call.get("id"), "name": function.get("name"), "arguments": arguments}]


def _size(part: Part) -> int:
    """Characters of the part's text."""
    return sum(len(part.get(name, "")) for name in ("content", "response", "arguments"))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: max(0, most)] + _CUT
