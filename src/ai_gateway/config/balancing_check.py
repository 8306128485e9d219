"""Keys of models that have no effect, since the gateway makes no loads for them."""

from collections.abc import Iterator
from typing import Final

from ai_gateway.config.reason import ConfigReason
from ai_gateway.config.types import Config

MOST_WARNINGS: Final = 10


def idle_keys(config: Config) -> Iterator[ConfigReason]:
    """A warning for each model that has such keys, up to a number."""
    count = 0
    for model_id, model in config.models.items():
        keys = [key for key, is_set in (("resident", model.resident), ("keep_alive", model.keep_alive)) if is_set]
        policy = model.policy or config.balancing.policy
        if not keys or (policy == "warm" and config.balancing.loads != "never"):
            continue
        if count == MOST_WARNINGS:
            yield ConfigReason("models", "there are more such models")
            return
        count += 1
        why = f"its policy is {policy!r}" if policy != "warm" else "balancing.loads is 'never'"
        are_idle = " and ".join(keys) + (" have" if len(keys) > 1 else " has")
        yield ConfigReason(f"models.{model_id}", f"{are_idle} no effect: the gateway loads no model, since {why}")
