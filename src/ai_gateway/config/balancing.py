"""The types of `balancing`, `queue` and `polling` in config.yml: how calls find their endpoints."""

from typing import Annotated, Literal

from msgspec import Meta

from ai_gateway.config.units import HeaderName, Pause, Seconds, Section
from ai_gateway.config.units import default as _default

Policy = Literal["warm", "least_in_flight", "round_robin"]
Slots = Annotated[int, Meta(ge=1, le=4096)]


class Balancing(Section, frozen=True):
    """How the gateway spreads calls over endpoints, and decides which of them loads which model."""

    policy: Annotated[
        Policy,
        Meta(
            description="`warm`: calls wait for an endpoint that has their model loaded, and the gateway decides on "
            "loads; `least_in_flight` and `round_robin`: any endpoint that holds the model, loaded or not"
        ),
    ] = "warm"
    loads: Annotated[
        Literal["auto", "always", "never"],
        Meta(
            description="whether this gateway may load and unload models. `auto`: yes, but not in a cluster where it "
            "does not know the other gateways. `never`: Ollama loads a model when a call for it comes"
        ),
    ] = "auto"
    starve: Annotated[
        Seconds,
        Meta(
            description="when a call has waited so long for a model that is loaded nowhere, a model in use has to go; "
            "a gateway that may not load sends the call to any endpoint then"
        ),
    ] = _default(Seconds(20))
    foreign: Annotated[
        bool,
        Meta(description="others use the same endpoints and do not report to this gateway: it leaves them room"),
    ] = False
    slots: Annotated[
        Slots,
        Meta(description="calls at a time, per model and endpoint; Ollama's own default (OLLAMA_NUM_PARALLEL) is 1"),
    ] = 1
    retry_budget: Annotated[
        float, Meta(ge=0, le=1, description="retries at a time, as a share of running calls; 3 are always allowed")
    ] = 0.2
    affinity_headers: Annotated[
        tuple[HeaderName, ...],
        Meta(
            description="request headers that name a conversation, such as `x-openwebui-chat-id`; of several the first "
            "counts. Without one the gateway knows a conversation by `prompt_cache_key`, `user` or its messages"
        ),
    ] = ()


class Queue(Section, frozen=True):
    """Each model has a queue of its own."""

    max_waiting: Annotated[
        int,
        Meta(
            ge=0,
            description="calls that may wait, per model; the next one gets the error queue_full. With 0 nothing waits "
            "for a load either: keep such models loaded (`resident`)",
        ),
    ] = 100
    wait_for_endpoints: Annotated[
        Pause,
        Meta(
            description="how long calls wait for a first endpoint that holds their model, as when Ollama is scaled to "
            "zero; 0: they get no_endpoint or model_missing at once"
        ),
    ] = _default(Pause(0))


class Polling(Section, frozen=True):
    """How often the gateway asks endpoints for their state."""

    interval: Annotated[
        Seconds, Meta(description="time between two polls of /api/version and /api/ps, with 20 % jitter")
    ] = _default(Seconds(2))
    models_interval: Annotated[Seconds, Meta(description="time between two polls of /api/tags")] = _default(Seconds(10))
    timeout: Annotated[Seconds, Meta(description="longest wait for /api/version and /api/tags")] = _default(Seconds(5))
    residents_timeout: Annotated[
        Seconds, Meta(description="longest wait for /api/ps; after a late poll the last view stays in force for 10 s")
    ] = _default(Seconds(1))
