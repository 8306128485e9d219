"""Patterns of names: `*` stands for any run of characters. Case counts. Linear in the name: no regular expression."""

from functools import lru_cache


def fits(pattern: str, name: str) -> bool:
    """Whether a name is one that a pattern means, spelt exactly."""
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
    """The same for NAMESPACE/NAME: no `*` reaches over the `/`."""
    patterns, parts = pattern.split("/"), name.split("/")
    return len(patterns) == len(parts) and all(map(fits, patterns, parts))


@lru_cache(maxsize=4096)
def permits(lists: tuple[tuple[str, ...], ...], names: tuple[str, ...]) -> bool:
    """Whether each list has a pattern for one of these names, which are those of one model. No lists: everything."""
    return all(any(fits(pattern, name) for pattern in patterns for name in names) for patterns in lists)
