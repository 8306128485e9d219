"""Whether this gateway is the one that changes what endpoints hold."""

from ai_gateway.balancing.fleet import Fleet
from ai_gateway.config.reconcile import Reconcile


def may_write(fleet: Fleet, settings: Reconcile) -> bool:
    """With the mode `auto` it is the one that decides on loads."""
    if settings.mode == "never" or fleet.never_loads:
        return False
    return fleet.decides or (settings.mode == "always" and fleet.peers.leads)


def why_not(fleet: Fleet, settings: Reconcile) -> str | None:
    """Why neither this gateway nor another one that it knows changes anything, in a sentence; None if one does."""
    if settings.mode == "never":
        return "reconcile.mode is never"
    if fleet.never_loads:
        return "balancing.loads is never"
    if fleet.peers.is_known or may_write(fleet, settings):
        return None
    return "it does not know the other gateways (see gateways.complaint), and reconcile.mode is auto"
