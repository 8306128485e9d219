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
    is the context that its own parameters ask for; `options` has the others with which Ollama loads it anew.
    """

    blob: str = ""
    num_ctx: int | None = None
    format: str = "gguf"
    options: str = ""


class HeldModel(msgspec.Struct, frozen=True):
    """A model on an endpoint's disk, as /api/tags lists it. `modified` is Unix seconds, `size` bytes.

    `digest` is of its manifest.
    """

    name: str
    digest: str
    size: int
    modified: int
    family: str = ""
    parameter_size: str = ""
    quantization: str = ""
    is_remote: bool = False
    is_embedding: bool = False  # and nothing else


class Loaded(msgspec.Struct):
    """A runner in memory. Changed by Residency. `moved_at` is when its expiry was last seen to change: then it was
    in use by somebody. `confirmed_at` is when our own load of it ended, 0.0 if it was not ours.
    """

    key: str
    entry: Resident
    moved_at: float
    confirmed_at: float = 0.0
