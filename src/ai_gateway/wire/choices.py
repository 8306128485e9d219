"""The choices of an answer or event: how many tokens they bring, and how the gateway normalizes them."""

import re
from typing import Any, Final, TypeGuard

from ai_gateway.wire.usage import tokens_of_text

MAX_REASON: Final = 64  # characters of a finish_reason
LONG_EVENT_BYTES: Final = 384  # Ollama's events with one token have about 220
_LOGPROBS: Final = b'"logprobs":{'
_TOOL_CALLS: Final = b'"tool_calls":[{'
_SAID: Final = re.compile(rb'"(?:content|text|reasoning|reasoning_content)":\s*"(?!")')


def is_finish_reason(value: Any) -> TypeGuard[str]:
    """Whether the value is a word; the log and spans show it."""
    return isinstance(value, str) and len(value) <= MAX_REASON and value.isprintable()


def tokens_of(event: bytes) -> int:
    """How many tokens an event brings.

    One, as Ollama sends them, with or without log probabilities; none if it has no content (a role, an empty text).
    A tool call, which comes whole, and a text that is too long for one token are estimated from their bytes.
    """
    if _LOGPROBS in event:
        return 1
    at = event.find(_TOOL_CALLS)
    if at >= 0:
        return tokens_of_text(len(event) - at)
    if _SAID.search(event) is None:
        return 0
    return 1 + tokens_of_text(max(0, len(event) - LONG_EVENT_BYTES))


def take_empty_content(choices: Any, part: str) -> bool:
    """Turns `"content": ""` beside tool calls into null, as OpenAI does. Returns whether it changed anything."""
    found = False
    for choice in choices if isinstance(choices, list) else ():
        message = choice.get(part) if isinstance(choice, dict) else None
        if isinstance(message, dict) and message.get("tool_calls") and message.get("content") == "":
            message["content"] = None
            found = True
    return found


def add_reasoning_content(choices: Any, part: str) -> None:
    """Repeats Ollama's `reasoning` as `reasoning_content`, in each choice's `message` or `delta`."""
    for choice in choices if isinstance(choices, list) else ():
        text = choice.get(part) if isinstance(choice, dict) else None
        if isinstance(text, dict) and "reasoning" in text:
            text["reasoning_content"] = text["reasoning"]
