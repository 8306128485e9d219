"""Rewrites Ollama's server-sent events for the client. Pure: bytes in as they arrive, bytes out.

Every event gets the gateway's id and the client's model. The head of Ollama's events has a fixed shape, so it is
replaced by position. If an event begins with the last known head, up to its choices, only the texts in its choice
become objects. The choices must be one JSON value and the end of the event, so that nothing can hide beside them:
no second `choices`, no `error`. An event that is not JSON in UTF-8 breaks the stream.
"""

from typing import Any, Final

import msgspec

from ai_gateway.wire.answer import (
    LONG_EVENT_BYTES,
    Shape,
    add_reasoning_content,
    is_finish_reason,
    take_empty_content,
    tokens_of,
)
from ai_gateway.wire.json_guard import Fields
from ai_gateway.wire.unreadable import UNREADABLE
from ai_gateway.wire.usage import Usage, read_usage

MAX_EVENT_BYTES: Final = 4 << 20  # a tool call comes in one event; other clients of Ollama read as much of a line
MAX_REASON: Final = 500  # characters of an error for the log
MOST_EVENTS: Final = 4096  # of one read: twice as many as fit of Ollama's shortest events

_FIELDS: Final = (b"data:", b"event:", b"id:", b"retry:", b":")  # `:` begins a comment
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_HEAD_KEYS: Final = ["id", "object", "created", "model"]
_REASONING: Final = b'"reasoning":'
# Ollama puts this behind every chunk of a text completion once usage was asked for.
_ZERO_USAGE: Final = b',"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}}\n\n'
_NO_USAGE: Final = b',"usage":null}\n\n'  # as OpenAI writes it
_END: Final = b"}\n\n"
_END_OF_CHOICES: Final = b"]" + _END
_NEVER: Final = b"\0"
_NOTHING_USED: Final = Usage(0, 0)
_NULL: Final = msgspec.Raw(b"null")

_decode_fields = msgspec.json.Decoder(Fields).decode
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class _Delta(msgspec.Struct, frozen=True, gc=False):
    content: str | None = None
    reasoning: str | None = None
    tool_calls: None = None


class _Choice(msgspec.Struct, frozen=True, gc=False):
    """A choice that neither ends nor calls tools. The decoder checks and skips the rest: it is JSON, but its strings
    may not be UTF-8."""

    delta: _Delta = _Delta()
    text: str | None = None
    finish_reason: None = None


_decode_choices = msgspec.json.Decoder(tuple[_Choice]).decode  # Ollama writes one


class EventStream:
    """One stream while it is relayed. Changed by `feed` only.

    At the end, `is_complete` says whether Ollama finished: it sent a finish_reason and `[DONE]`.
    `broken` is the reason why it did not, for the log; `feed` passes on nothing after it. The stream `is_garbled` if
    it is not a stream of events at all.
    """

    __slots__ = (
        "_adds_reasoning", "_head", "_id", "_is_after_cr", "_is_first", "_model", "_ollama_head", "_rest",
        "_with_usage",
        "broken", "finish_reason", "is_done", "is_garbled", "usage", "written",
    )  # fmt: skip

    def __init__(self, shape: Shape) -> None:
        self._with_usage = shape.with_usage
        self._adds_reasoning = shape.reasoning_content
        self._id = msgspec.Raw(_encode(shape.id))
        self._model = msgspec.Raw(_encode(shape.model))
        self._ollama_head = _NEVER
        self._head = b""
        self._rest = bytearray()  # of an event that is not complete yet
        self._is_after_cr = False
        self._is_first = True
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self.written = 0  # tokens so far, see tokens_of
        self.is_done = False
        self.broken: str | None = None
        self.is_garbled = False

    @property
    def is_complete(self) -> bool:
        """Whether the answer ended with a finish_reason and `[DONE]`."""
        return self.is_done and self.broken is None

    def feed(self, data: bytes) -> bytes:
        """Whole events for the client, from these bytes and the rest of earlier ones; may be empty."""
        if self._is_after_cr or b"\r" in data:
            data = self._plain_line_ends(data)
        if self._rest:
            if not self._ends_event(data):
                return b""
            data = bytes(self._rest) + data
            self._rest.clear()
        if data.find(b"\n") == len(data) - 2 and data.endswith(b"\n\n"):  # a search for one byte is faster
            return self._event(data)
        *events, rest = data.split(b"\n\n")
        self._rest += rest
        if len(events) > MOST_EVENTS:
            return self._garble(f"more than {MOST_EVENTS} events at once")
        read = self._event if data.count(b"\n") == 2 * len(events) else self._parse
        return b"".join([read(event + b"\n\n") for event in events])

    def _ends_event(self, data: bytes) -> bool:
        """Whether these bytes end the incomplete event; otherwise they are added to it."""
        rest = self._rest
        if b"\n\n" in data or (rest[-1] == 0x0A and data.startswith(b"\n")):
            return True
        if len(rest) + len(data) > MAX_EVENT_BYTES:
            rest.clear()
            self._garble(f"an event of more than {MAX_EVENT_BYTES} bytes")
        elif self.broken is None:
            rest += data
        return False

    def _plain_line_ends(self, data: bytes) -> bytes:
        """The bytes with LF for every line end that SSE allows. A CR ends its line at once; an LF may follow it."""
        if self._is_after_cr and data:
            self._is_after_cr = False
            data = data.removeprefix(b"\n")
        if data.endswith(b"\r"):
            self._is_after_cr = True
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _event(self, event: bytes) -> bytes:
        """Rewrites an event of one line; common ones do not become objects."""
        ollama_head = self._ollama_head
        if event.startswith(ollama_head) and self.broken is None and not self.is_done:
            tail = _END
            if event.endswith(_END_OF_CHOICES):
                choices = event[len(ollama_head) : -len(_END)]
            elif event.endswith(_ZERO_USAGE):
                choices = event[len(ollama_head) : -len(_ZERO_USAGE)]
                if self._with_usage:
                    tail = _NO_USAGE
            else:
                return self._parse(event)
            try:
                if not choices.isascii():
                    choices.decode()
                (choice,) = _decode_choices(choices)
            except UNREADABLE:
                return self._parse(event)
            if self._adds_reasoning and _REASONING in choices:
                return self._parse(event)
            delta = choice.delta
            if len(event) <= LONG_EVENT_BYTES and (delta.content or choice.text or delta.reasoning):
                self.written += 1
            else:
                self.written += tokens_of(event)
            return self._head + choices + tail
        return self._parse(event)

    def _parse(self, event: bytes) -> bytes:
        """Rewrites any other event: the first, the last ones, a new head, an error, or an invalid one."""
        if self.broken is not None or self.is_done:
            return b""
        payload = self._payload(event)
        if not payload:
            return b""
        if payload.strip() == b"[DONE]":
            return self._done()
        try:
            fields = _decode_fields(payload)
            content = _decode(payload)
        except UNREADABLE:
            return self._garble("an event that is not a JSON object")
        return self._chunk(event, fields, content)

    def _payload(self, event: bytes) -> bytes:
        """The event's data; empty for a comment, or if it has only fields that OpenAI's streams do not have."""
        if self._is_first:
            self._is_first = False
            event = event.removeprefix(_BYTE_ORDER_MARK)
        lines = list(filter(None, event.split(b"\n")))
        if not all(line.startswith(_FIELDS) for line in lines):
            # The standard would ignore it, but it may be a part of the answer.
            return self._garble("a line that is not a field of an event")
        return b"\n".join([line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")])

    def _garble(self, reason: str) -> bytes:
        if self.broken is None and not self.is_done:
            self.broken, self.is_garbled = reason, True
        return b""

    def _done(self) -> bytes:
        if self.finish_reason is None:
            self.broken = "[DONE] without a finish_reason"
            return b""
        self.is_done = True
        return b"data: [DONE]\n\n"

    def _chunk(self, event: bytes, fields: Fields, content: dict[str, Any]) -> bytes:
        if content.get("error"):
            self.broken = f"an error event: {content['error']}"[:MAX_REASON]
            return b""
        if not content.get("model"):  # this is how Ollama shows that a runner died (middleware/openai.go)
            self.broken = "a chunk with an empty model: the runner failed"
            return b""
        choices = content.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            reason = choice.get("finish_reason") if isinstance(choice, dict) else None
            if reason is not None and not is_finish_reason(reason):
                return self._garble("a finish_reason that is not a word")
            self.finish_reason = reason or self.finish_reason
        if choices:
            self.written += tokens_of(event)
        usage = read_usage(content.get("usage"))
        if usage is not None and not choices:
            self.usage = usage
            if not self._with_usage:
                return b""
        if not self._with_usage:
            fields.pop("usage", None)
        elif choices and usage == _NOTHING_USED:
            fields["usage"] = _NULL
        return self._rewrite(event, fields, content)

    def _rewrite(self, event: bytes, fields: Fields, content: dict[str, Any]) -> bytes:
        self._learn_head(event, fields)
        fields["id"] = self._id
        fields["model"] = self._model
        choices = content.get("choices")
        is_changed = take_empty_content(choices, "delta")
        if self._adds_reasoning:
            add_reasoning_content(choices, "delta")
            is_changed = True
        if is_changed:
            fields["choices"] = msgspec.Raw(_encode(choices))
        return b"data: " + _encode(fields) + b"\n\n"

    def _learn_head(self, event: bytes, fields: Fields) -> None:
        keys = list(fields)
        if keys[:4] != _HEAD_KEYS or "choices" not in keys:
            return
        first = [(key, bytes(fields[key])) for key in keys[: keys.index("choices")]]
        ollama_head = _head(first)
        if event.startswith(ollama_head):
            self._ollama_head = ollama_head
            self._head = _head([("id", bytes(self._id)), *first[1:3], ("model", bytes(self._model)), *first[4:]])


def _head(fields: list[tuple[str, bytes]]) -> bytes:
    """An event up to its choices."""
    return b"data: {" + b"".join([b"%b:%b," % (_encode(key), value) for key, value in fields]) + b'"choices":'
