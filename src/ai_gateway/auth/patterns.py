"""Patterns of names: `*` stands for any run of characters, or for any but `/` where names have parts. Case counts."""

import re
from functools import lru_cache


def fits(pattern: str, name: str) -> bool:
    """Whether a name is one that a pattern means, spelt exactly."""
    return _compiled(pattern, ".*").fullmatch(name) is not None


def fits_parts(pattern: str, name: str) -> bool:
    """The same for NAMESPACE/NAME: no `*` reaches over the `/`."""
    return _compiled(pattern, "[^/]*").fullmatch(name) is not None


@lru_cache(maxsize=4096)
def permits(lists: tuple[tuple[str, ...], ...], names: tuple[str, ...]) -> bool:
    """Whether each list has a pattern for one of these names, which are those of one model. No lists: everything."""
    return all(any(fits(pattern, name) for pattern in patterns for name in names) for patterns in lists)


@lru_cache(maxsize=1024)
def _compiled(pattern: str, any_run: str) -> re.Pattern[str]:
    return re.compile(any_run.join(map(re.escape, pattern.split("*"))), re.DOTALL)
