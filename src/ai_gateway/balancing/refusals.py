"""The errors of calls that a pool does not serve, each with a sentence that says what to do."""

from collections.abc import Collection
from typing import Final, NamedTuple

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.load import Backoff
from ai_gateway.balancing.rollout import Rollout
from ai_gateway.errors import (
    BackendUnavailable,
    LoadFailed,
    ModelLoading,
    ModelMissing,
    ModelPulling,
    NoEndpoint,
    QueueFull,
    QueueShare,
    QueueTimeout,
)


class Named(NamedTuple):
    """A model as its pool and as people know it."""

    model: str
    title: str


LONGEST_RETRY_SECONDS: Final = 60.0
LONG_PULL_SECONDS: Final = 300.0  # then a client should not try again by itself


def unserved(
    named: Named, everyone: Collection[Endpoint], avoid: Collection[Endpoint], rollout: Rollout | None
) -> BackendUnavailable:
    """No endpoint outside `avoid` may have it."""
    others = any(endpoint.is_usable and endpoint not in avoid for endpoint in everyone)
    if not others or any(endpoint.holds(named.model) for endpoint in everyone):
        return no_endpoint(named.title)
    if rollout is not None and rollout.state != "done":
        return pulling(named.title, rollout)
    return missing(named.title)


def pulling(model: str, rollout: Rollout) -> ModelPulling:
    """The gateway brings it to the first endpoint, or has failed to."""
    if rollout.state == "failed":
        error = ModelPulling(f"Model {model!r} could not be pulled: {rollout.reason}. The gateway tries again.")
        error.retry_after = LONGEST_RETRY_SECONDS
        return error
    share = "" if rollout.progress is None else f", {rollout.progress:.0%} are there"
    error = ModelPulling(f"Model {model!r} is being pulled{share}; try again later.")
    if rollout.seconds_left is not None:
        error.retry_after = min(max(1.0, rollout.seconds_left), LONGEST_RETRY_SECONDS)
        error.should_retry = False if rollout.seconds_left > LONG_PULL_SECONDS else None
    return error


def missing(model: str) -> ModelMissing:
    """Endpoints are up, and all of them are known not to have it."""
    return ModelMissing(
        f"Model {model!r} is configured, but no Ollama endpoint has it. With the line `pull: if_missing` under it in "
        f"config.yml the gateway pulls it; or pull it there (ollama pull {model})."
    )


def no_endpoint(model: str) -> NoEndpoint:
    """None that may have it is up."""
    return NoEndpoint(f"No Ollama endpoint with model {model!r} is up; see GET /v1/health for each one's state.")


def late(model: str, seconds: float, patience_seconds: float) -> QueueTimeout:
    """Its turn would come after its client has left."""
    error = QueueTimeout(
        f"A slot for model {model!r} would become free in about {seconds:.0f} s, and the call waits "
        f"{patience_seconds:.0f} s at most; try again later."
    )
    error.retry_after = max(1.0, seconds - patience_seconds)
    return error


def full(model: str, waiting: int, retry_after: float) -> QueueFull:
    """The queue is full of calls of others, or nothing may wait at all."""
    text = f"{waiting} requests already wait for model {model!r}; try again later."
    if not waiting:
        text = f"Model {model!r} has no free slot now, and no call may wait for one (max_waiting is 0)."
    error = QueueFull(text)
    error.retry_after = retry_after
    return error


def share(model: str, waiting: int, own: int, retry_after: float) -> QueueShare:
    """The queue is full, and the caller has its share of it."""
    error = QueueShare(
        f"The queue of model {model!r} is full, and {own} of its {waiting} calls are yours; try again later."
    )
    error.retry_after = retry_after
    return error


def still_loading(model: str, waited_seconds: float, retry_after: float) -> ModelLoading:
    """It waited for a load as long as it may."""
    error = ModelLoading(
        f"Model {model!r} was not loaded within {waited_seconds:g} s (timeouts.load); try again later."
    )
    error.retry_after = retry_after
    return error


def load_failed(model: str, backoff: Backoff, now: float) -> LoadFailed:
    """No endpoint that has it could load it, and none is asked again before the end of `backoff`."""
    error = LoadFailed(f"Model {model!r} could not be loaded: {backoff.reason}.")
    error.retry_after = max(1.0, backoff.until - now)
    return error
