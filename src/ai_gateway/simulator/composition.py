"""Composes a simulated model's answer: always the same for the same prompt, model and seed."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

from ai_gateway.simulator.asks import Ask, Tool, token_count
from ai_gateway.simulator.go_json import encode
from ai_gateway.simulator.json_schema import example

_TEXT = (
    "the a model answers in small steps because every token takes its time and nothing here was learned from data "
    "while words follow one another at a steady pace so that streams queues and slots can be watched as they work "
    "under load with many callers few places long prompts short replies warm caches and now then again some quiet"
)
_WORDS = _TEXT.split()
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_TOKEN_CHARACTERS = 4  # of JSON text
_SENTENCE_WORDS = 12

Digest = Callable[[int], bytes]  # that many bytes, made from the prompt; fewer are a prefix of more


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool. `arguments` is a JSON object as text."""

    id: str
    index: int
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Composition:
    """A whole answer: first the thinking, then the content, then the calls; `silent_tokens` make the calls."""

    thinking: tuple[str, ...]
    content: tuple[str, ...]
    tool_calls: tuple[ToolCall, ...]
    silent_tokens: int
    done_reason: str  # "stop" or "length"

    @property
    def completion_tokens(self) -> int:
        """How many tokens the model made, thinking and calls included."""
        return len(self.thinking) + len(self.content) + self.silent_tokens


@dataclass(frozen=True, slots=True)
class Voice:
    """The model's display name, whether it thinks, its mean answer length, and the endpoint's seed."""

    name: str
    thinks: bool
    answer_tokens: int
    seed: int


def compose(ask: Ask, voice: Voice) -> Composition:
    """The answer to a request, before any time has passed."""
    text = f"{voice.name}\0{voice.seed}\0{ask.seed}\0{ask.prompt}"
    digest = hashlib.shake_128(text.encode("utf-8", "replace")).digest
    length = _natural_length(digest, voice.answer_tokens)
    if ask.max_tokens is not None and ask.max_tokens >= 0:
        length = min(length, ask.max_tokens + 1)  # one more shows that the limit cuts; the rest is not made
    thinking = _prose(digest, max(4, length // 4)) if voice.thinks and ask.effort != "none" else ()
    calls = _tool_calls(ask, digest)
    if calls:
        silent = sum(token_count(call.arguments) + 4 for call in calls)
        return _limited(Composition(thinking, (), calls, silent, "stop"), ask.max_tokens)
    if ask.schema is not None:
        content = _pieces(_json_text(ask.schema))
    else:
        content = (*_greeting(voice.name), *_prose(digest, length))
    content = _stopped(content, ask.stop)
    return _limited(Composition(thinking, content, (), 0, "stop"), ask.max_tokens)


def _natural_length(digest: Digest, mean: int) -> int:
    """A length between 50 % and 150 % of the mean."""
    spread = int.from_bytes(digest(2), "big") / 65535
    return max(1, round(mean * (0.5 + spread)))


def _greeting(name: str) -> tuple[str, ...]:
    return ("I", " am", " a", " simulated", f" {name}", ".")


def _prose(digest: Digest, count: int) -> tuple[str, ...]:
    """`count` tokens, each a word after a space; every twelfth ends a sentence."""
    numbers = digest(count + 2)[2:]
    return tuple(
        f" {_WORDS[number % len(_WORDS)]}" + ("." if place % _SENTENCE_WORDS == _SENTENCE_WORDS - 1 else "")
        for place, number in enumerate(numbers)
    )


def _json_text(schema: dict[str, object]) -> str:
    value = example(schema) if schema else {"answer": "simulated", "items": [1, 2, 3]}
    return json.dumps(value, ensure_ascii=False)


def _pieces(text: str) -> tuple[str, ...]:
    return tuple(text[at : at + _TOKEN_CHARACTERS] for at in range(0, len(text), _TOKEN_CHARACTERS))


def _stopped(tokens: tuple[str, ...], stops: tuple[str, ...]) -> tuple[str, ...]:
    """The tokens up to the first stop text, which may begin in the middle of one."""
    text = "".join(tokens)
    places = [text.find(stop) for stop in stops if stop]
    end = min((place for place in places if place >= 0), default=-1)
    if end < 0:
        return tokens
    kept: list[str] = []
    for token in tokens:
        kept.append(token[:end])
        end -= len(token)
        if end <= 0:
            break
    return tuple(token for token in kept if token)


def _limited(whole: Composition, max_tokens: int | None) -> Composition:
    """Cuts an answer at a token limit; an unfinished call is never sent."""
    if max_tokens is None or max_tokens < 0 or whole.completion_tokens <= max_tokens:
        return whole
    thinking = whole.thinking[:max_tokens]
    left = max_tokens - len(thinking)
    content = whole.content[:left]
    silent = min(whole.silent_tokens, left - len(content))
    return Composition(thinking, content, (), silent, "length")


def _tool_calls(ask: Ask, digest: Digest) -> tuple[ToolCall, ...]:
    """The tools that the last message, if a user wrote it, names; the first one if it says "tool"."""
    if not ask.tools or not ask.messages or ask.messages[-1].role.lower() != "user":
        return ()
    text = ask.messages[-1].text.lower()
    named = [tool for tool in ask.tools if _is_named(tool, text)]
    chosen = named or (ask.tools[:1] if "tool" in text else ())
    ids = digest(2 + 8 * len(chosen))[2:]
    return tuple(
        ToolCall(
            id="call_" + "".join(_LETTERS[byte % len(_LETTERS)] for byte in ids[8 * index : 8 * index + 8]),
            index=index,
            name=tool.name,
            arguments=encode(_arguments(tool)).decode(),
        )
        for index, tool in enumerate(chosen)
    )


def _is_named(tool: Tool, text: str) -> bool:
    """Whether the text has the tool's name, or every word of it: "what is the weather" does not name get_weather."""
    name = tool.name.lower()
    return name in text or all(word in text for word in name.replace("-", "_").split("_"))


def _arguments(tool: Tool) -> dict[str, object]:
    value = example(tool.parameters) if tool.parameters else {}
    return value if isinstance(value, dict) else {}
