"""The types of config.yml about what should be on the endpoints' disks: the shape of a model, and `reconcile`."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ai_gateway.config.units import Period, PositiveInt, Seconds, Section
from ai_gateway.config.units import default as _default

Pull = Literal["always", "if_missing", "never"]
Copies = Literal["all"] | PositiveInt

Count = Annotated[int, Meta(ge=0, le=1 << 31)]
FromMinusOne = Annotated[int, Meta(ge=-1, le=1 << 31)]
Few = Annotated[int, Meta(ge=0, le=1 << 16)]
Share = Annotated[float, Meta(ge=0, le=1)]
Size = Annotated[float, Meta(ge=-1000, le=1000)]


class Parameters(Section, frozen=True, omit_defaults=True):
    """Ollama's own parameters of a model (`PARAMETER` in a Modelfile). Ollama itself does not check them."""

    num_ctx: Annotated[
        Annotated[int, Meta(ge=1, le=1 << 31)] | None, Meta(description="tokens of context of each slot")
    ] = None
    temperature: Annotated[
        Annotated[float, Meta(ge=0, le=1000)] | None,
        Meta(description="how much chance decides on a token; written into calls that name none"),
    ] = None
    top_p: Annotated[
        Share | None,
        Meta(description="only the likeliest tokens that have this share together; written into calls, too"),
    ] = None
    top_k: Annotated[Count | None, Meta(description="only so many of the likeliest tokens")] = None
    min_p: Annotated[Share | None, Meta(description="only tokens with this share of the likeliest one's chance")] = None
    typical_p: Annotated[Share | None, Meta(description="only tokens about as likely as expected; 1 is off")] = None
    seed: Annotated[
        Annotated[int, Meta(ge=-(1 << 31), le=1 << 31)] | None,
        Meta(description="the same seed and prompt give the same answer"),
    ] = None
    stop: Annotated[str | tuple[str, ...] | None, Meta(description="texts at which an answer ends")] = None
    num_predict: Annotated[
        Annotated[int, Meta(ge=-2, le=1 << 31)] | None,
        Meta(description="tokens of an answer at most; -1: without an end"),
    ] = None
    num_keep: Annotated[
        FromMinusOne | None, Meta(description="tokens of the beginning that stay when the context is full")
    ] = None
    repeat_last_n: Annotated[
        FromMinusOne | None, Meta(description="how far back repetitions count; 0: off, -1: the whole context")
    ] = None
    repeat_penalty: Annotated[Size | None, Meta(description="against repetitions; 1 is off")] = None
    presence_penalty: Annotated[Size | None, Meta(description="against tokens that were there before")] = None
    frequency_penalty: Annotated[Size | None, Meta(description="the same, for each time that they were there")] = None
    num_batch: Annotated[
        Annotated[int, Meta(ge=1, le=1 << 20)] | None,
        Meta(description="tokens of a prompt that are worked on at a time"),
    ] = None
    num_gpu: Annotated[
        Annotated[int, Meta(ge=-1, le=1 << 16)] | None, Meta(description="layers on GPUs; -1: as many as fit")
    ] = None
    main_gpu: Annotated[Few | None, Meta(description="the GPU that has what is not split")] = None
    num_thread: Annotated[Few | None, Meta(description="threads on the CPU; 0: Ollama decides")] = None
    use_mmap: Annotated[bool | None, Meta(description="whether the file is mapped into memory")] = None

    def given(self) -> dict[str, Any]:
        """Those that are set, as Ollama takes them."""
        found: dict[str, Any] = {
            key: value for key, value in msgspec.structs.asdict(self).items() if value is not None and value != ()
        }
        stop = found.get("stop")
        if stop is not None:
            found["stop"] = [stop] if isinstance(stop, str) else list(stop)
        return found


class Reconcile(Section, frozen=True):
    """How the gateway brings the models of `models` to the endpoints: it pulls, makes, loads and deletes them."""

    pull: Annotated[
        Pull,
        Meta(
            description="for models that do not say: whether a tag is pulled where it is missing. `always`: also at "
            "the start, after a change and every `pull_interval`. The chart's default is `if_missing`"
        ),
    ] = "never"
    mode: Annotated[
        Literal["auto", "always", "never"],
        Meta(
            description="whether this gateway changes what endpoints hold. `auto`: outside a cluster, or as the one "
            "that decides among those that the Service lists. With `balancing.loads: never` it never does"
        ),
    ] = "auto"
    owner: Annotated[
        Annotated[str, Meta(min_length=1, max_length=128)] | None,
        Meta(
            description="whose models these are, in the names that the gateway makes; names of another owner are never "
            "touched. Default: namespace and name of the gateway's Service, else `default`",
        ),
    ] = None
    pulls: Annotated[int, Meta(ge=1, le=1000, description="pulls at a time, one per pod")] = 2
    pull_interval: Annotated[Seconds, Meta(description="time between two pulls of one model with `pull: always`")] = (
        _default(Seconds(3600))
    )
    prune: Annotated[
        Period,
        Meta(
            description="after so long what this owner made and no config names is deleted; each model's previous "
            "version stays. `never`: nothing is"
        ),
    ] = _default(Period(86400))
    shared_store: Annotated[
        bool, Meta(description="the pods share one volume with models: one pull and one create for all")
    ] = False
    registries: Annotated[
        tuple[str, ...], Meta(description="hosts that may be pulled from beside Ollama's own, such as `registry:5000`")
    ] = ()
    insecure_registries: Annotated[tuple[str, ...], Meta(description="of these, those without TLS")] = ()
