"""Writing the answers of /api/chat and /api/generate: one JSON object a line. Source: api/types.go."""

import json
from collections.abc import Callable
from typing import Any, Literal

from ai_gateway.simulator.composition import Composition, ToolCall
from ai_gateway.simulator.durations import rfc3339
from ai_gateway.simulator.go_json import encode
from ai_gateway.simulator.outcome import Outcome, Piece, joined_logprobs

NDJSON = "application/x-ndjson"
GIN_JSON = "application/json; charset=utf-8"


class NativeWriter:
    """An answer of /api/chat or /api/generate. `clock` gives Unix time for `created_at`."""

    content_type = NDJSON
    whole_type = GIN_JSON

    def __init__(self, model: str, form: Literal["chat", "generate"], clock: Callable[[], float]) -> None:
        self._model = model
        self._form = form
        self._clock = clock

    def piece(self, piece: Piece) -> list[bytes]:
        """One line; nothing for a token that is part of a call."""
        if piece.kind == "silent":
            return []
        text = {"content": piece.text} if piece.kind == "content" else {"content": "", "thinking": piece.text}
        return [self._line(text, {"done": False}, piece.logprobs)]

    def calls(self, calls: tuple[ToolCall, ...]) -> list[bytes]:
        """All calls in one line; their arguments are an object."""
        return [self._line({"content": "", "tool_calls": [_tool_call(call) for call in calls]}, {"done": False}, None)]

    def finish(self, outcome: Outcome) -> list[bytes]:
        """The last line with counts and durations."""
        return [self._line({"content": ""}, _ending(outcome), None)]

    def broken(self, message: str) -> list[bytes]:
        """A line with the error; the status is still 200."""
        return [encode({"error": message}) + b"\n"]

    def whole(self, composition: Composition, pieces: list[Piece], outcome: Outcome) -> bytes:
        """The whole answer as a single object."""
        text: dict[str, Any] = {"content": "".join(composition.content)}
        if composition.thinking:
            text["thinking"] = "".join(composition.thinking)
        if composition.tool_calls:
            text["tool_calls"] = [_tool_call(call) for call in composition.tool_calls]
        return self._line(text, _ending(outcome), joined_logprobs(pieces))[:-1]

    def _line(self, text: dict[str, Any], ending: dict[str, Any], logprobs: list[dict[str, Any]] | None) -> bytes:
        record: dict[str, Any] = {"model": self._model, "created_at": rfc3339(self._clock())}
        if self._form == "chat":
            record["message"] = {"role": "assistant", **text}
        else:
            record["response"] = text.pop("content")
            record.update(text)
        record.update(ending)
        if logprobs is not None:
            record["logprobs"] = logprobs
        return encode(record) + b"\n"


def _ending(outcome: Outcome) -> dict[str, Any]:
    """`done`, its reason, and counts other than zero."""
    if outcome.done_reason is None:
        return {"done": False}
    measures = {
        "total_duration": outcome.total_ns,
        "load_duration": outcome.load_ns,
        "prompt_eval_count": outcome.prompt_tokens,
        "prompt_eval_duration": outcome.prompt_ns,
        "eval_count": outcome.completion_tokens,
        "eval_duration": outcome.eval_ns,
    }
    return {"done": True, "done_reason": outcome.done_reason, **{k: v for k, v in measures.items() if v}}


def _tool_call(call: ToolCall) -> dict[str, Any]:
    return {
        "id": call.id,
        "function": {"index": call.index, "name": call.name, "arguments": json.loads(call.arguments)},
    }
