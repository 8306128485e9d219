"""Answers of a real Ollama 0.24.0, as it wrote them, in `recorded/`; `chat-stream-new` has the shape from 0.32.6 on."""

import json
from pathlib import Path
from typing import Any

from ai_gateway.wire.answer import Shape
from ai_gateway.wire.stream import EventStream

_HERE = Path(__file__).parent / "recorded"

FINISHED = (
    "chat-stream-new", "chat-stream-usage", "chat-stream-tools", "chat-stream-logprobs",
    "completions-stream-plain", "completions-stream-usage",
)  # fmt: skip
CUT = ("chat-stream-server-killed", "completions-stream-runner-killed")

OURS = Shape("chatcmpl-0123", "my model")
WITH_USAGE = Shape("chatcmpl-0123", "my model", with_usage=True)
WITH_REASONING = Shape("chatcmpl-0123", "my model", reasoning_content=True)


def recorded(name: str) -> bytes:
    """A recorded stream, or a whole answer."""
    path = _HERE / f"{name}.sse"
    return (path if path.exists() else _HERE / f"{name}.json").read_bytes()


def relayed(pieces: list[bytes], shape: Shape = OURS) -> tuple[bytes, EventStream]:
    """What a client gets of a stream that comes in these pieces, and the stream at its end."""
    stream = EventStream(shape)
    return b"".join([stream.feed(piece) for piece in pieces]), stream


def events(text: bytes) -> list[Any]:
    """The data of each event, read as JSON; "[DONE]" as it is."""
    assert text.endswith(b"\n\n") or not text
    data = [event.removeprefix(b"data: ") for event in text.split(b"\n\n")[:-1]]
    return [event.decode() if event == b"[DONE]" else json.loads(event) for event in data]


NOTHING_USED = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def with_openais_null(said: dict[str, Any]) -> None:
    """Beside tool calls OpenAI has no empty text."""
    if said.get("tool_calls") and said.get("content") == "":
        said["content"] = None


def as_the_client_should_see(text: bytes, shape: Shape) -> list[Any]:
    """The recorded events with the gateway's id and model, OpenAI's nulls, and usage where it was asked for."""
    seen: list[Any] = []
    for event in events(text):
        if event != "[DONE]":
            if not shape.with_usage and event.pop("usage", None) is not None and not event["choices"]:
                continue
            event.update(id=shape.id, model=shape.model)
            if event["choices"] and event.get("usage") == NOTHING_USED:
                event["usage"] = None
            for choice in event["choices"]:
                with_openais_null(choice.get("delta", {}))
            for choice in event["choices"] if shape.reasoning_content else ():
                delta = choice.get("delta", {})
                if "reasoning" in delta:
                    delta["reasoning_content"] = delta["reasoning"]
        seen.append(event)
    return seen
