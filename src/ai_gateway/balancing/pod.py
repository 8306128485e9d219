"""What Kubernetes tells of the pod behind an endpoint."""

from collections.abc import Mapping

import msgspec


class Pod(msgspec.Struct, frozen=True):
    """Facts about an Ollama pod from Kubernetes. None if one is not set or not readable.

    `workload` is what its pods are made for, as KIND/NAME: two with the same one are alike. The numbers are those of
    `OLLAMA_NUM_PARALLEL`, `OLLAMA_MAX_LOADED_MODELS` and `OLLAMA_CONTEXT_LENGTH` in its spec.
    """

    name: str
    namespace: str
    node: str | None = None
    zone: str | None = None
    labels: Mapping[str, str] = {}
    workload: str | None = None
    num_parallel: int | None = None
    max_loaded_models: int | None = None
    context_length: int | None = None
