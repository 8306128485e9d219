"""A simulated model: sizes, digests and capabilities, all derived from its name."""

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any

from ai_gateway.simulator.names import Name

_BYTES_PER_BILLION = 600_000_000  # of a 4-bit quantised model
_DEFAULT_BILLIONS = {
    "codellama": 7.0,
    "deepseek-r1": 7.6,
    "gemma3": 4.3,
    "gpt-oss": 20.9,
    "llama3": 8.0,
    "llama3.1": 8.0,
    "llama3.2": 3.2,
    "mixtral": 46.7,
    "phi4": 14.7,
    "qwen3": 8.2,
    "tinyllama": 1.1,
}
_EMBEDDING = re.compile(r"embed|minilm|bge|e5|gte", re.IGNORECASE)
_THINKING = re.compile(r"deepseek-r1|qwen3|gpt-oss|think|reason|qwq", re.IGNORECASE)
_VISION = re.compile(r"llava|vision|gemma3|-vl|moondream", re.IGNORECASE)
_INSERT = re.compile(r"code|coder|starcoder", re.IGNORECASE)
_FAMILIES = {"qwen": "qwen3", "gemma": "gemma3", "phi": "phi3", "gpt-oss": "gptoss"}


@dataclass(frozen=True, slots=True)
class Model:
    """One local model. `weights` is the digest of its weights: models that share it share a runner."""

    name: Name
    digest: str  # 64 hex digits, of the manifest
    weights: str  # 64 hex digits, of the largest layer
    size_bytes: int
    family: str
    parameter_size: str
    quantization: str
    capabilities: tuple[str, ...]
    modified_at: float  # Unix time
    context_length: int
    embedding_length: int
    parent: str = ""
    system: str = ""
    template: str = "{{ .Prompt }}"
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def is_embedding(self) -> bool:
        """Whether it makes vectors instead of text."""
        return "embedding" in self.capabilities

    @property
    def loads_with(self) -> int | None:
        """The context length in its parameters; another one needs another load."""
        length = self.parameters.get("num_ctx")
        return length if isinstance(length, int) else None

    @property
    def layers(self) -> tuple[str, str]:
        """The digests of what a pull of it downloads: the weights, and a few bytes that describe them."""
        return self.weights, sha256(self.digest)

    def details(self) -> dict[str, Any]:
        """The `details` object of /api/tags, /api/ps and /api/show."""
        return {
            "parent_model": self.parent,
            "format": "gguf",
            "family": self.family,
            "families": [self.family],
            "parameter_size": self.parameter_size,
            "quantization_level": self.quantization,
        }


def sha256(text: str) -> str:
    """64 hex digits."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def describe(name: Name, modified_at: float, capabilities: tuple[str, ...] | None) -> Model:
    """The model for a name. Equal names give equal digests on every endpoint."""
    kinds = capabilities if capabilities is not None else guess_capabilities(name)
    is_embedding = "embedding" in kinds
    billions = _billions(name, 0.137 if is_embedding else 7.0)
    return Model(
        name=name,
        digest=sha256(f"manifest:{name.key}"),
        weights=sha256(f"weights:{name.key}"),
        size_bytes=int(billions * _BYTES_PER_BILLION),
        family="nomic-bert" if is_embedding else _family(name.model),
        parameter_size=f"{billions:g}B" if billions >= 1 else f"{billions * 1000:g}M",
        quantization="F16" if is_embedding else "Q4_0",
        capabilities=kinds,
        modified_at=modified_at,
        context_length=2048 if is_embedding else 131072,
        embedding_length=768 if is_embedding else 4096,
    )


def guess_capabilities(name: Name) -> tuple[str, ...]:
    """Guesses by name: `*embed*` makes vectors, `deepseek-r1` thinks, `llava` sees images, coders insert."""
    text = name.model
    if _EMBEDDING.search(text):
        return ("embedding",)
    kinds = ["completion"]
    kinds += ["vision"] if _VISION.search(text) else []
    kinds += ["insert"] if _INSERT.search(text) else []
    return (*kinds, "tools", *(("thinking",) if _THINKING.search(text) else ()))


def _billions(name: Name, default: float) -> float:
    match = re.match(r"(\d+(?:\.\d+)?)([bm])", name.tag, re.IGNORECASE)
    if match is None:
        return _DEFAULT_BILLIONS.get(name.model, default)
    return float(match[1]) / (1 if match[2].lower() == "b" else 1000)


def _family(model: str) -> str:
    return next((family for start, family in _FAMILIES.items() if model.startswith(start)), "llama")
