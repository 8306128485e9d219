"""The types of config.yml about what should be on the endpoints' disks: the shape of a model, and `reconcile`."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ai_gateway.config.units import Period, PositiveInt, Seconds, Section
from ai_gateway.config.units import default as _default

Pull = Literal["always", "if_missing", "never"]
Copies = Literal["all"] | PositiveInt

Count = Annotated[int, Meta(ge=0, le=1 << 31)]
Share = Annotated[float, Meta(ge=0, le=1)]
Size = Annotated[float, Meta(ge=-1000, le=1000)]


class Parameters(Section, frozen=True, omit_defaults=True):
    """Ollama's own parameters of a model (`PARAMETER` in a Modelfile). Ollama itself does not check them."""

    num_ctx: Annotated[int, Meta(ge=1, le=1 << 31, description="tokens of context of each slot")] | None = None
    temperature: Annotated[float, Meta(ge=0, le=1000)] | None = None
    top_p: Share | None = None
    top_k: Count | None = None
    min_p: Share | None = None
    typical_p: Share | None = None
    seed: Annotated[int, Meta(ge=-(1 << 31), le=1 << 31)] | None = None
    stop: str | tuple[str, ...] | None = None
    num_predict: Annotated[int, Meta(ge=-2, le=1 << 31)] | None = None
    num_keep: Annotated[int, Meta(ge=-1, le=1 << 31)] | None = None
    repeat_last_n: Annotated[int, Meta(ge=-1, le=1 << 31)] | None = None
    repeat_penalty: Size | None = None
    presence_penalty: Size | None = None
    frequency_penalty: Size | None = None
    num_batch: Annotated[int, Meta(ge=1, le=1 << 20)] | None = None
    num_gpu: Annotated[int, Meta(ge=-1, le=1 << 16)] | None = None
    main_gpu: Annotated[int, Meta(ge=0, le=1 << 16)] | None = None
    num_thread: Annotated[int, Meta(ge=0, le=1 << 16)] | None = None
    use_mmap: bool | None = None

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
