"""Summarizes why pods are left out: groups them by reason, and names some of each group."""

from collections.abc import Iterable
from typing import Final

import msgspec

from ai_gateway.balancing.pod import Pod

MOST_NAMED: Final = 20


class LeftOut(msgspec.Struct, frozen=True):
    """All pods that are left out for one reason. `pods` names some of them as NAMESPACE/NAME."""

    reason: str
    count: int
    pods: tuple[str, ...] = ()


def grouped(pods: Iterable[tuple[Pod, str]]) -> tuple[LeftOut, ...]:
    """Counts each pod once, the most frequent reason first. It names at most 20 pods, shared fairly by the reasons."""
    groups: dict[str, dict[tuple[str, str], None]] = {}
    for pod, reason in pods:
        groups.setdefault(reason, {})[pod.namespace, pod.name] = None
    named: dict[str, tuple[str, ...]] = {}
    room = MOST_NAMED
    for done, (reason, names) in enumerate(sorted(groups.items(), key=lambda group: len(group[1]))):
        share = -(-room // (len(groups) - done))  # rounded up; small groups leave the rest to larger ones
        named[reason] = tuple("/".join(name) for name in list(names)[:share])
        room -= len(named[reason])
    frequent = sorted(groups, key=lambda reason: -len(groups[reason]))
    return tuple(LeftOut(reason, len(groups[reason]), named[reason]) for reason in frequent)
