"""The input of both APIs' writers: single tokens, and the outcome at the end."""

import hashlib
import math
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from ai_gateway.simulator.composition import Composition, ToolCall

NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Piece:
    """One token of an answer. A silent one (part of a call) is not sent."""

    kind: Literal["thinking", "content", "silent"]
    text: str
    logprobs: list[dict[str, Any]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The end of an answer: why it ended, what it counted, how long it took (nanoseconds)."""

    done_reason: str | None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_ns: int = 0
    load_ns: int = 0
    prompt_ns: int = 0
    eval_ns: int = 0


class Writer(Protocol):
    """Writes one answer in the shape of one API. It keeps what it has written."""

    content_type: str  # of a stream
    whole_type: str  # of an answer that is not streamed

    def piece(self, piece: Piece) -> list[bytes]:
        """The records for one token."""

    def calls(self, calls: tuple[ToolCall, ...]) -> list[bytes]:
        """The records for finished tool calls."""

    def finish(self, outcome: Outcome) -> list[bytes]:
        """The last records of a stream."""

    def broken(self, message: str) -> list[bytes]:
        """The records of a stream whose runner died after the first token."""

    def whole(self, composition: Composition, pieces: list[Piece], outcome: Outcome) -> bytes:
        """The body of an answer that is not streamed."""


def pieces_of(composition: Composition, logprobs: bool, top_logprobs: int) -> list[Piece]:
    """The tokens in the order in which the model makes them."""

    def piece(kind: Literal["thinking", "content"], text: str, place: int) -> Piece:
        return Piece(kind, text, [_logprob(text, place, top_logprobs)] if logprobs else None)

    thinking = [piece("thinking", text, place) for place, text in enumerate(composition.thinking)]
    content = [piece("content", text, len(thinking) + place) for place, text in enumerate(composition.content)]
    return thinking + content + [Piece("silent", "")] * composition.silent_tokens


def joined_logprobs(pieces: list[Piece]) -> list[dict[str, Any]] | None:
    """The log probabilities of a whole answer; None if the client did not request them."""
    found = [logprob for piece in pieces for logprob in piece.logprobs or ()]
    return found or None


def _logprob(token: str, place: int, top: int) -> dict[str, Any]:
    """`token, logprob, bytes, top_logprobs?`, the probability made up from the token and its place."""
    seed = f"{place}\0{token}".encode("utf-8", "replace")
    number = int.from_bytes(hashlib.blake2b(seed, digest_size=2).digest())
    logprob = math.log(0.5 + number / 131072)
    first = _alternative(token, logprob)
    if not top:
        return first
    others = [_alternative(f"{token}{rank}", logprob - rank) for rank in range(1, top)]
    return {**first, "top_logprobs": [first, *others]}


def _alternative(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": round(logprob, 6), "bytes": list(token.encode("utf-8", "replace"))}
