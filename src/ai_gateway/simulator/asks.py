"""A client's request to a model, the same for both APIs."""

from dataclasses import dataclass
from typing import Any

Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; an image counts as `image_characters` of text."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may call; `parameters` is a JSON Schema."""

    name: str
    parameters: Schema


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request for text. `model` is the client's spelling. `keep_alive` in seconds, math.inf is forever."""

    model: str
    messages: tuple[Message, ...]
    stream: bool = False
    include_usage: bool = False
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    schema: Schema | None = None  # the answer is JSON of this shape; {} is any JSON object
    effort: str | None = None  # None: the model's default; "none": no thinking
    logprobs: bool = False
    top_logprobs: int = 0
    seed: int = 0
    keep_alive: float | None = None
    context_length: int | None = None
    suffix: str = ""

    @property
    def prompt(self) -> str:
        """The text that the model reads."""
        return "".join(f"<|{message.role}|>{message.text}\n" for message in self.messages)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedAsk:
    """A request for vectors, one per text."""

    model: str
    texts: tuple[str, ...]
    dimensions: int = 0  # 0: the model's own
    is_base64: bool = False
    truncates: bool = True
    keep_alive: float | None = None
    context_length: int | None = None


def token_count(text: str) -> int:
    """About four characters make a token; at least one."""
    return max(1, (len(text) + 3) // 4)
