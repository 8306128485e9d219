"""Tells people how rollouts end: a line of the log, and an Event of the ConfigMap."""

import logging
from typing import Final

from ai_gateway.balancing.rollout import Rollout
from ai_gateway.cluster.config_map import ConfigMap
from ai_gateway.cluster.events import Reason
from ai_gateway.config.state import digest_of
from ai_gateway.reconcile.plans import Plan

log: Final = logging.getLogger("ai_gateway.reconcile")


class RolloutNews:
    """Writes to the log, and to the ConfigMap that the config comes from, if it does."""

    def __init__(self, config_map: ConfigMap | None) -> None:
        self._config_map = config_map

    def tell(self, plan: Plan, rollout: Rollout) -> None:
        """A model is in place as the config says, that has failed, or calls wait for the new version."""
        shaped, is_ready = plan.shaped, rollout.state == "done"
        places = "on 1 endpoint" if rollout.total == 1 else f"on {rollout.total} endpoints"
        message = f"model {shaped.id}: {plan.name} is in place {places}"
        if rollout.is_waited_for:
            message = f"model {shaped.id}: {plan.name} is loaded in place of the only loaded copy; calls wait for it"
        elif not is_ready:
            done = f"{rollout.done} of {rollout.total} endpoints"
            message = f"model {shaped.id}: {plan.name} is in place on {done}: {rollout.reason}"
        (log.info if is_ready else log.warning)("%s", message)
        if self._config_map is not None:
            reason: Reason = "ModelReady" if is_ready else "ModelReloading" if rollout.is_waited_for else "ModelFailed"
            digest = digest_of(f"{shaped.key} {shaped.spec} {reason} {rollout.reason}".encode())
            self._config_map.report_model(digest, message, reason)
