"""Whether an answer looks like the one that a page shows: the same keys, the same kinds of values."""

import json
from typing import Any


def differences(shown: Any, given: Any, path: str = "$") -> list[str]:
    """What sets the shapes apart, with paths. Lists are compared by their first elements; null fits everything."""
    if shown is None or given is None:
        return []
    if isinstance(shown, dict) and isinstance(given, dict):
        found = [f"{path}.{key} is only on the page" for key in shown.keys() - given.keys()]
        found += [f"{path}.{key} is not on the page" for key in given.keys() - shown.keys()]
        for key in shown.keys() & given.keys():
            found += differences(shown[key], given[key], f"{path}.{key}")
        return found
    if isinstance(shown, list) and isinstance(given, list):
        return differences(shown[0], given[0], f"{path}[0]") if shown and given else []
    return [] if _kind(shown) == _kind(given) else [f"{path} is {given!r}, on the page {shown!r}"]


def event_differences(shown: str, given: str) -> list[str]:
    """The same for server-sent events: the first, the last before the end, and the end itself."""
    ours, theirs = _events(shown), _events(given)
    if ours[-1] != theirs[-1]:
        return [f"the last event is {theirs[-1]!r}, on the page {ours[-1]!r}"]
    return [
        difference
        for index in (0, -3, -2)
        for difference in differences(json.loads(ours[index]), json.loads(theirs[index]), f"event {index}")
    ]


def _events(text: str) -> list[str]:
    return [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]


def _kind(value: Any) -> type:
    return float if type(value) is int else type(value)
