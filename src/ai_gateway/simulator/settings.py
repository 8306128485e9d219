"""How a simulated Ollama behaves: speed, room, models and dialect. Every default is written here, once."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ai_gateway.simulator.runner import LISTED_AFTER, LISTED_LOADED

Dialect = Literal["new", "old"]

KNOWN_MODELS = (
    "all-minilm",
    "bge-m3",
    "codellama",
    "deepseek-r1",
    "gemma3",
    "gpt-oss",
    "llama3",
    "llama3.1",
    "llama3.2",
    "llava",
    "mistral",
    "mixtral",
    "mxbai-embed-large",
    "nomic-embed-text",
    "phi4",
    "qwen2.5",
    "qwen2.5-coder",
    "qwen3",
    "tinyllama",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One endpoint's behaviour. Rates are per second, times in seconds, sizes in bytes, lengths in tokens.

    A rate of 0 means "at once". Comments name Ollama's own variables.
    """

    models: tuple[str, ...] = ("llama3:latest", "codellama:13b", "nomic-embed-text:latest")
    registry: tuple[str, ...] = KNOWN_MODELS  # models that /api/pull finds, with any tag; ("*",) finds everything
    capabilities: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by model name; else guessed

    tokens_per_second: float = 50.0  # of one answer
    prefill_tokens_per_second: float = 4000.0  # of prompt tokens that the cache does not hold
    load_seconds: float = 0.3  # of a model, from request to ready
    pull_bytes_per_second: float = 4e9
    answer_tokens: int = 40  # mean length of an answer without another limit

    slots: int = 1  # OLLAMA_NUM_PARALLEL
    max_loaded: int = 3  # OLLAMA_MAX_LOADED_MODELS
    max_queue: int = 512  # OLLAMA_MAX_QUEUE
    keep_alive_seconds: float = 300.0  # OLLAMA_KEEP_ALIVE; negative is forever
    memory_bytes: int = 0  # room for loaded models; 0 is without limit
    context_length: int = 4096  # OLLAMA_CONTEXT_LENGTH
    embedding_length: int = 384

    dialect: Dialect = "new"  # of chat streams: "new" from 0.32.6 on, "old" up to 0.32.5
    version: str | None = None  # what /api/version says; None follows the dialect
    seed: int = 0  # another seed gives other answers
    remembered_requests: int = 32  # how many of the last POSTs and DELETEs, but /api/show, /simulator/state shows

    @property
    def reported_version(self) -> str:
        """The answer of `/api/version`."""
        if self.version is not None:
            return self.version
        return "0.33.0" if self.dialect == "new" else "0.24.0"

    @property
    def listed_after(self) -> float:
        """The share of its load after which `/api/ps` lists a model, as the reported version does it."""
        numbers = re.match(r"(\d+)\.(\d+)", self.reported_version)
        is_older = numbers is not None and (int(numbers[1]), int(numbers[2])) < (0, 30)
        return LISTED_AFTER if is_older else LISTED_LOADED

    @property
    def prefill_seconds_per_token(self) -> float:
        """Time to read one prompt token that is not cached."""
        return 1.0 / self.prefill_tokens_per_second if self.prefill_tokens_per_second > 0 else 0.0

    @property
    def seconds_per_token(self) -> float:
        """Time between two tokens of an answer."""
        return 1.0 / self.tokens_per_second if self.tokens_per_second > 0 else 0.0
