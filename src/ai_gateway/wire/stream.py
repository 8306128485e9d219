"""Server-sent events from Ollama, rewritten for the client: pure, fed with bytes as they come.

Every event gets the gateway's id and the model that was asked. The head of Ollama's events has a fixed shape,
so it is exchanged by position: an event that begins with the head learnt last, and says `"finish_reason":null`,
is passed on without being parsed. JSON escapes quotes inside strings, so neither can be faked by content.
"""

from typing import Any, Final

import msgspec

from ai_gateway.wire.json_guard import Fields
from ai_gateway.wire.usage import Usage, read_usage

MAX_EVENT_BYTES: Final = 16 << 20

_UNFINISHED: Final = b'"finish_reason":null'
_REASONING: Final = b'"reasoning":'
# Ollama puts this behind every chunk of a text completion once usage was asked for.
_ZERO_USAGE: Final = b',"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}}\n\n'
_NO_USAGE: Final = b',"usage":null}\n\n'  # what OpenAI has there
_LIST_END: Final = ord("]")
_NEVER: Final = b"\0"

_NOTHING_USED: Final = Usage(0, 0)
_NULL: Final = msgspec.Raw(b"null")

_decode_fields = msgspec.json.Decoder(Fields).decode
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class Shape(msgspec.Struct, frozen=True):
    """What the client's stream looks like: its id and model in every event, and whether it asked for usage."""

    id: str
    model: str
    with_usage: bool = False
    reasoning_content: bool = False


class EventStream:
    """One stream on its way through. Changed by `feed` alone.

    After the end `is_complete` says whether Ollama finished honestly: a finish_reason and `[DONE]` were seen.
    `broken` holds what went wrong instead, in words for the log; nothing is passed on from there.
    """

    __slots__ = (
        "_id", "_is_after_cr", "_model", "_no_usage", "_ours", "_rest", "_rest_bytes", "_shape", "_theirs",
        "broken", "finish_reason", "is_done", "usage",
    )  # fmt: skip

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._id = msgspec.Raw(_encode(shape.id))
        self._model = msgspec.Raw(_encode(shape.model))
        self._no_usage = _NO_USAGE if shape.with_usage else b"}\n\n"
        self._theirs = _NEVER
        self._ours = b""
        self._rest: list[bytes] = []  # of an event whose end has not come yet
        self._rest_bytes = 0
        self._is_after_cr = False
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self.is_done = False
        self.broken: str | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the answer ended as a finished one does."""
        return self.is_done and self.broken is None

    def feed(self, data: bytes) -> bytes:
        """Whole events for the client, made of these bytes and what was left of earlier ones; may be empty."""
        if self._is_after_cr or b"\r" in data:
            data = self._plain_line_ends(data)
        if self._rest:
            if not self._ends_event(data):
                return b""
            data = b"".join([*self._rest, data])
            self._rest.clear()
        if data.endswith(b"\n\n") and data.find(b"\n\n", 0, -2) < 0:
            return self._event(data)
        *events, rest = data.split(b"\n\n")
        if rest:
            self._rest.append(rest)
            self._rest_bytes = len(rest)
        return b"".join([self._event(event + b"\n\n") for event in events])

    def _ends_event(self, data: bytes) -> bool:
        """Whether these bytes end the event that is held; else they are held too, and nothing is joined yet."""
        if b"\n\n" in data or (self._rest[-1].endswith(b"\n") and data.startswith(b"\n")):
            return True
        if data:
            self._rest.append(data)
            self._rest_bytes += len(data)
            if self._rest_bytes > MAX_EVENT_BYTES:
                self.broken = "an event without an end"
        return False

    def _plain_line_ends(self, data: bytes) -> bytes:
        """LF for every line end that SSE allows; a CR ends its line at once, a later LF is still its own."""
        if self._is_after_cr and data:
            self._is_after_cr = False
            data = data.removeprefix(b"\n")
        if data.endswith(b"\r"):
            self._is_after_cr = True
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _event(self, event: bytes) -> bytes:
        unfinished = event.find(_UNFINISHED)
        if unfinished > 0 and event.startswith(self._theirs) and self.broken is None and not self.is_done:
            if event.endswith(_ZERO_USAGE):
                event = event[: -len(_ZERO_USAGE)] + self._no_usage
            # A delta stands before it: one that ends in a list has tool calls.
            if event[unfinished - 3] != _LIST_END and not (self._shape.reasoning_content and _REASONING in event):
                return self._ours + event[len(self._theirs) :]
        return self._parse(event)

    def _parse(self, event: bytes) -> bytes:
        """Any event that is not the common one: the first, the last ones, a new head, an error, nonsense."""
        if self.broken is not None or self.is_done:
            return b""
        lines = [line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")]
        if not lines:
            return b""  # a comment or a field that OpenAI's stream does not have
        payload = b"\n".join(lines)
        if payload.startswith(b"[DONE]"):
            return self._done()
        try:
            fields = _decode_fields(payload)
            content = _decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self.broken = "an event that is no JSON object"
            return b""
        return self._chunk(event, fields, content)

    def _done(self) -> bytes:
        if self.finish_reason is None:
            self.broken = "[DONE] without a finish_reason"
            return b""
        self.is_done = True
        return b"data: [DONE]\n\n"

    def _chunk(self, event: bytes, fields: Fields, content: dict[str, Any]) -> bytes:
        if content.get("error"):
            self.broken = f"an error event: {content['error']}"
            return b""
        if not content.get("model"):  # how Ollama shows a runner that died (middleware/openai.go)
            self.broken = "a chunk with an empty model: the runner failed"
            return b""
        choices = content.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict) and isinstance(choice.get("finish_reason"), str):
                self.finish_reason = choice["finish_reason"]
        usage = read_usage(content.get("usage"))
        if usage is not None and not choices:
            self.usage = usage
            if not self._shape.with_usage:
                return b""
        if not self._shape.with_usage:
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
        if self._shape.reasoning_content:
            add_reasoning_content(choices, "delta")
            is_changed = True
        if is_changed:
            fields["choices"] = msgspec.Raw(_encode(choices))
        return b"data: " + _encode(fields) + b"\n\n"

    def _learn_head(self, event: bytes, fields: Fields) -> None:
        first = [b'"%b":%b' % (key.encode(), bytes(fields[key])) for key in list(fields)[:4]]
        if list(fields)[:4] != ["id", "object", "created", "model"]:
            return
        theirs = b"data: {" + b",".join(first) + b","
        if event.startswith(theirs):
            self._theirs = theirs
            first[0] = b'"id":' + bytes(self._id)
            first[3] = b'"model":' + bytes(self._model)
            self._ours = b"data: {" + b",".join(first) + b","


def take_empty_content(choices: Any, part: str) -> bool:
    """Makes null of `"content": ""` beside tool calls, as OpenAI has it; whether there was any."""
    found = False
    for choice in choices if isinstance(choices, list) else ():
        said = choice.get(part) if isinstance(choice, dict) else None
        if isinstance(said, dict) and said.get("tool_calls") and said.get("content") == "":
            said["content"] = None
            found = True
    return found


def add_reasoning_content(choices: Any, part: str) -> None:
    """Ollama's `reasoning` again as `reasoning_content`, in each choice's `message` or `delta`."""
    for choice in choices if isinstance(choices, list) else ():
        text = choice.get(part) if isinstance(choice, dict) else None
        if isinstance(text, dict) and "reasoning" in text:
            text["reasoning_content"] = text["reasoning"]
