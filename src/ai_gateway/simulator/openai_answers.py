"""Writing the answers of /v1/chat/completions and /v1/completions, byte for byte as Ollama does.

Source: openai/openai.go, middleware/openai.go. Two dialects of the chat stream: "new" from 0.32.6 on (the role only in
the first chunk, a separate finish chunk, `created` constant), "old" before that (role and content in every chunk).
"""

from collections.abc import Callable
from typing import Any

from ai_gateway.simulator.composition import Composition, ToolCall
from ai_gateway.simulator.go_json import encode
from ai_gateway.simulator.outcome import Outcome, Piece, joined_logprobs

DONE = b"data: [DONE]\n\n"
SSE = "text/event-stream"
JSON = "application/json"


def usage_of(outcome: Outcome) -> dict[str, int]:
    """`{"prompt_tokens", "completion_tokens", "total_tokens"}`."""
    return {
        "prompt_tokens": outcome.prompt_tokens,
        "completion_tokens": outcome.completion_tokens,
        "total_tokens": outcome.prompt_tokens + outcome.completion_tokens,
    }


def _event(start: bytes, rest: bytes) -> bytes:
    return b"data: " + start + rest + b"\n\n"


class ChatWriter:
    """A chat answer >= 0.32.6. `number` (0..998) makes the id, which is not unique; `created` is Unix time."""

    content_type = SSE
    whole_type = JSON

    def __init__(self, model: str, number: int, created: int, include_usage: bool) -> None:
        self._model = model
        self._id = f"chatcmpl-{number}"
        self._created = created
        self._include_usage = include_usage
        self._start = self._chunk_start(model)
        self._has_role = False
        self._has_calls = False

    def piece(self, piece: Piece) -> list[bytes]:
        """One chunk; nothing for a token that is part of a call."""
        if piece.kind == "silent":
            return []
        text = encode(piece.text)
        delta = b'"content":' + text if piece.kind == "content" else b'"content":"","reasoning":' + text
        return [self._chunk(delta, _logprobs_json(piece.logprobs))]

    def calls(self, calls: tuple[ToolCall, ...]) -> list[bytes]:
        """All calls in one chunk, complete."""
        self._has_calls = True
        return [self._chunk(b'"content":"","tool_calls":' + encode([_tool_call(call) for call in calls]))]

    def finish(self, outcome: Outcome) -> list[bytes]:
        """The finish chunk with an empty delta, the usage if asked, `[DONE]`: together, as one record."""
        reason = self._reason(outcome)
        finish = _event(self._start, b'{"index":0,"delta":{},"finish_reason":' + encode(reason) + b"}]}")
        return [b"".join((finish, *self._usage(outcome), DONE))]

    def broken(self, _message: str) -> list[bytes]:
        """A chunk with an empty model and without a reason."""
        self._model = ""
        self._start = self._chunk_start("")
        return [self._chunk(b'"content":""')]

    def whole(self, composition: Composition, pieces: list[Piece], outcome: Outcome) -> bytes:
        """A `chat.completion`, with a line end."""
        message: dict[str, Any] = {"role": "assistant", "content": "".join(composition.content)}
        if composition.thinking:
            message["reasoning"] = "".join(composition.thinking)
        if composition.tool_calls:
            message["tool_calls"] = [_tool_call(call) for call in composition.tool_calls]
            self._has_calls = True
        choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": self._reason(outcome)}
        logprobs = joined_logprobs(pieces)
        if logprobs is not None:
            choice["logprobs"] = {"content": logprobs}
        head = {"id": self._id, "object": "chat.completion", "created": self._created, "model": self._model}
        return _whole(head, choice, outcome)

    def _chunk_start(self, model: str) -> bytes:
        return (
            encode(
                {
                    "id": self._id,
                    "object": "chat.completion.chunk",
                    "created": self._created,
                    "model": model,
                    "system_fingerprint": "fp_ollama",
                }
            )[:-1]
            + b',"choices":['
        )

    def _chunk(self, delta: bytes, logprobs: bytes = b"") -> bytes:
        role = b"" if self._has_role else b'"role":"assistant",'
        self._has_role = True
        return _event(
            self._start, b'{"index":0,"delta":{' + role + delta + b'},"finish_reason":null' + logprobs + b"}]}"
        )

    def _reason(self, outcome: Outcome) -> str | None:
        return "tool_calls" if self._has_calls and outcome.done_reason == "stop" else outcome.done_reason

    def _usage(self, outcome: Outcome) -> list[bytes]:
        if not self._include_usage:
            return []
        return [_event(self._start, b'],"usage":' + encode(usage_of(outcome)) + b"}")]


class OldChatWriter(ChatWriter):
    """A chat answer <= 0.32.5: role and content in each chunk, the last of them finishes, `created` drifts."""

    def __init__(self, model: str, number: int, include_usage: bool, clock: Callable[[], float]) -> None:
        super().__init__(model, number, int(clock()), include_usage)
        self._clock = clock

    def finish(self, outcome: Outcome) -> list[bytes]:
        """The finish is a chunk like the others."""
        self._drift()
        rest = b'{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":'
        finish = _event(self._start, rest + encode(self._reason(outcome)) + b"}]}")
        return [b"".join((finish, *self._usage(outcome), DONE))]

    def _chunk(self, delta: bytes, logprobs: bytes = b"") -> bytes:
        self._drift()
        self._has_role = False
        return super()._chunk(delta, logprobs)

    def _drift(self) -> None:
        now = int(self._clock())
        if now != self._created:
            self._created = now
            self._start = self._chunk_start(self._model)


class CompletionWriter:
    """An answer of /v1/completions. With `include_usage` each chunk carries a usage of zeros, the last the sum."""

    content_type = SSE
    whole_type = JSON

    def __init__(self, model: str, number: int, created: int, include_usage: bool) -> None:
        self._model = model
        self._id = f"cmpl-{number}"
        self._created = created
        self._include_usage = include_usage

    def piece(self, piece: Piece) -> list[bytes]:
        """One chunk."""
        return [] if piece.kind == "silent" else [self._chunk(piece.text, None)]

    def calls(self, _calls: tuple[ToolCall, ...]) -> list[bytes]:
        """There are none here."""
        return []

    def finish(self, outcome: Outcome) -> list[bytes]:
        """A last empty text with the reason, the usage if asked, `[DONE]`."""
        records = [self._chunk("", outcome.done_reason)]
        if self._include_usage:
            records.append(self._record([], usage_of(outcome)))
        return [b"".join((*records, DONE))]

    def broken(self, _message: str) -> list[bytes]:
        """A chunk with an empty model and without a reason."""
        self._model = ""
        return [self._chunk("", None)]

    def whole(self, composition: Composition, _pieces: list[Piece], outcome: Outcome) -> bytes:
        """A `text_completion`, with a line end."""
        choice = {"text": "".join(composition.content), "index": 0, "finish_reason": outcome.done_reason}
        head = {"id": self._id, "object": "text_completion", "created": self._created, "model": self._model}
        return _whole(head, choice, outcome)

    def _chunk(self, text: str, reason: str | None) -> bytes:
        choice = {"text": text, "index": 0, "finish_reason": reason}
        return self._record([choice], usage_of(Outcome(done_reason=None)))

    def _record(self, choices: list[dict[str, Any]], usage: dict[str, int]) -> bytes:
        record: dict[str, Any] = {
            "id": self._id,
            "object": "text_completion",
            "created": self._created,
            "choices": choices,
            "model": self._model,
            "system_fingerprint": "fp_ollama",
        }
        if self._include_usage:
            record["usage"] = usage
        return _event(encode(record), b"")


def _whole(head: dict[str, Any], choice: dict[str, Any], outcome: Outcome) -> bytes:
    rest = {"system_fingerprint": "fp_ollama", "choices": [choice], "usage": usage_of(outcome)}
    return encode(head | rest) + b"\n"


def _tool_call(call: ToolCall) -> dict[str, Any]:
    return {
        "id": call.id,
        "index": call.index,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def _logprobs_json(logprobs: list[dict[str, Any]] | None) -> bytes:
    return b"" if logprobs is None else b',"logprobs":' + encode({"content": logprobs})
