"""What becomes of calls that have waited too long for a load, or for slots that others say they use."""

from ai_gateway.balancing.choice import Choice
from ai_gateway.balancing.pool import Pool
from ai_gateway.balancing.ticket import Ticket


def send_cold(pool: Pool, seconds: float) -> None:
    """Sends calls that have waited `seconds` for a load that nobody begins to the least busy endpoints."""
    now = pool.now
    for again in pool.queue.again():
        if not pool.is_warm_for(again) and now - again.came_at >= seconds:
            _send_cold(pool, again)
    while not pool.able and (ticket := pool.queue.first(now)) is not None and now - ticket.came_at >= seconds:
        if not _send_cold(pool, ticket):
            return


def _send_cold(pool: Pool, ticket: Ticket) -> bool:
    holders = pool.endpoints_with(ticket.avoid)
    free = [one for one in holders if one.takes(pool.model, pool.slots_of(one), pool.now)]
    if not free:
        return False
    chosen = min(free, key=lambda endpoint: endpoint.total_in_flight + endpoint.total_peers)
    pool.bind_to(ticket, Choice(chosen, "waited", False))
    return True


def send_past_peers(pool: Pool, seconds: float) -> None:
    """Sends one call that has waited `seconds` where this gateway runs none, whatever others say that they use.

    So no gateway that reports wrongly can shut out another one's calls.
    """
    ticket = pool.queue.first(pool.now)
    if ticket is None or pool.in_flight or pool.now - ticket.came_at < seconds:
        return
    taken = [one for one in pool.able if one.peers and not one.own_busy(pool.model)]
    if taken:
        chosen = min(taken, key=lambda endpoint: endpoint.total_in_flight)
        pool.bind_to(ticket, Choice(chosen, "waited", chosen.is_resident(pool.model)))
