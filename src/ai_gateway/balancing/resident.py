"""What an endpoint tells of its loaded models, and what a manifest stands for."""

import msgspec


class Resident(msgspec.Struct, frozen=True):
    """A loaded model, as /api/ps lists it, under the one name that loaded it; `name` is Ollama's name.

    `digest` is of the manifest at the time of the load: the name may have another one by now, or be gone from the disk.
    Sizes are bytes, `context_length` is tokens of one slot, `expires_at` is Unix seconds: years ahead means never, None
    that it is not readable, and a moment in the past that a call runs.
    """

    name: str
    digest: str
    size: int = 0
    size_vram: int = 0
    context_length: int | None = None
    expires_at: float | None = None


class Weights(msgspec.Struct, frozen=True):
    """What a manifest stands for, as /api/show tells it. Models with the same `blob` share a runner.

    `blob` is the SHA-256 of its GGUF file, in hex; "" if it has none (safetensors) or Ollama does not tell. `num_ctx`
    is the context that its own parameters ask for.
    """

    blob: str = ""
    num_ctx: int | None = None
    format: str = "gguf"
