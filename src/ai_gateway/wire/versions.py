"""Ollama's version numbers, such as `0.32.10` and `0.33.0-rc2`, as tuples that compare."""

import re
from typing import Final

Version = tuple[int, int, int, bool, int]  # the bool: no release candidate; then the number of the candidate

_FORM: Final = re.compile(r"v?(\d{1,6})\.(\d{1,6})\.(\d{1,6})(?:-rc\.?(\d{1,6}))?(?:[-+].*)?", re.DOTALL)
_SOURCE_BUILD: Final = (0, 0, 0)


def version_of(text: str | None) -> Version | None:
    """A version that compares with others; None if the text is none.

    It is also None for `0.0.0`, which builds from source say of themselves. Builds after a release have its number and
    a suffix (`0.24.0-12-gabc1234`): they count as that release.
    """
    found = _FORM.fullmatch(text or "")
    if found is None:
        return None
    major, minor, patch = (int(number) for number in found.groups()[:3])
    if (major, minor, patch) == _SOURCE_BUILD:
        return None
    return major, minor, patch, found[4] is None, int(found[4] or 0)
