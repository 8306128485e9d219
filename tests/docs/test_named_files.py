"""The pages for people who read the code name only files that exist."""

import re

import pytest
from tests.docs.program import ROOT

ROOMS = (ROOT, ROOT / "src" / "ai_gateway", ROOT / "tools", ROOT / "tests")
_FILE = re.compile(r"`([\w./-]+\.py)`")


def _exists(name: str) -> bool:
    """A name without a folder may be in any room."""
    if any((room / name).is_file() for room in ROOMS):
        return True
    return "/" not in name and any(next(room.rglob(name), None) is not None for room in ROOMS[1:])


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_every_named_file_exists(page: str) -> None:
    """A rename that forgets the page fails here."""
    names = set(_FILE.findall((ROOT / page).read_text()))
    assert names, f"{page} names no file any more"
    assert {name for name in names if not _exists(name)} == set()
