"""On which endpoints a model is to be installed: those that its labels and its number of copies say."""

from collections.abc import Sequence

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.catalog.plans import Plan


def targets(plan: Plan, endpoints: Sequence[Endpoint], everywhere: set[str]) -> list[Endpoint]:
    """Those of the endpoints, which are up and have told what they hold. Those that hold the model come first.

    `everywhere` remembers the models that none held when they were asked for: the first that has one must not end that.
    """
    matching = [endpoint for endpoint in endpoints if _matches(plan, endpoint)]
    holders = [endpoint for endpoint in matching if endpoint.holds(plan.shaped.key)]
    others = [endpoint for endpoint in matching if endpoint not in holders]
    if plan.copies is None and not holders:
        everywhere.add(plan.shaped.key)
    if plan.copies is None and plan.shaped.key not in everywhere:
        workloads = {endpoint.pod.workload for endpoint in holders if endpoint.pod and endpoint.pod.workload}
        return holders + [one for one in others if one.pod is not None and one.pod.workload in workloads]
    if plan.copies is None or plan.copies == "all":
        return holders + others
    return (holders + sorted(others, key=_emptiness))[: plan.copies]


def _matches(plan: Plan, endpoint: Endpoint) -> bool:
    labels = endpoint.pod.labels if endpoint.pod is not None else {}
    return all(labels.get(name) == value for name, value in plan.labels.items())


def _emptiness(endpoint: Endpoint) -> tuple[int, int]:
    """The same order at all gateways: the disk with the fewest models first."""
    return len(endpoint.held or ()), endpoint.number
