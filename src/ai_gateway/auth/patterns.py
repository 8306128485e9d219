"""Patterns of names. `*` stands for any characters, and case counts. Linear time, without regular expressions."""

from functools import lru_cache


def fits(pattern: str, name: str) -> bool:
    """Whether a name matches a pattern."""
    head, *rest = pattern.split("*")
    if not rest:
        return name == pattern
    if not name.startswith(head):
        return False
    *middle, tail = rest
    at = len(head)
    for part in middle:
        found = name.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return len(name) - len(tail) >= at and name.endswith(tail)


def fits_parts(pattern: str, name: str) -> bool:
    """The same for NAMESPACE/NAME: `*` never matches the `/`."""
    patterns, parts = pattern.split("/"), name.split("/")
    return len(patterns) == len(parts) and all(map(fits, patterns, parts))


@lru_cache(maxsize=4096)
def permits(lists: tuple[tuple[str, ...], ...], names: tuple[str, ...]) -> bool:
    """Whether each list has a pattern for one of the names of a model. No lists permit everything."""
    return all(any(fits(pattern, name) for pattern in patterns for name in names) for patterns in lists)
