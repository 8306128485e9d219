"""What Ollama says in the choices of an answer or event: how much it is, and what is mended of it."""

import re
from typing import Any, Final, TypeGuard

from ai_gateway.wire.usage import tokens_of_text

MAX_REASON: Final = 64  # characters of a finish_reason
LONG_EVENT_BYTES: Final = 384  # those of Ollama's that hold one token have some 220
_LOGPROBS: Final = b'"logprobs":{'
_TOOL_CALLS: Final = b'"tool_calls":[{'
_SAID: Final = re.compile(rb'"(?:content|text|reasoning|reasoning_content)":\s*"(?!")')


def is_finish_reason(value: Any) -> TypeGuard[str]:
    """Whether it is a word; it goes into the log and into spans."""
    return isinstance(value, str) and len(value) <= MAX_REASON and value.isprintable()


def tokens_of(event: bytes) -> int:
    """How many tokens an event brings.

    One, as Ollama sends them, whatever log probabilities stand beside it; none where it says nothing (a role, an empty
    text). A tool call, which comes whole, and a text that is too long for one token are told by their bytes.
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
