"""Pages of the audit: bounded in bytes, and whole when they are put together."""

from itertools import chain
from pathlib import Path

import msgspec
import pytest
from tests.audit.entries import archive, entry, fill, mixed

from ai_gateway.audit.query import MOST_PAGE_BYTES, STEP, page_of
from ai_gateway.audit.sqlite_archive import SqliteArchive
from ai_gateway.audit.store import Query


def pages(asked: SqliteArchive, query: Query) -> list[list[int]]:
    """The sequences of all entries, page by page."""
    found = []
    while True:
        page = page_of(asked, query)
        found.append([one.sequence for one in page.entries])
        if page.next is None:
            return found
        query = msgspec.structs.replace(query, after=page.next)


def test_a_page_ends_at_a_few_mib_and_its_cursor_goes_on(tmp_path: Path) -> None:
    content = "\u00e9" * (MOST_PAGE_BYTES // 20)  # a tenth of a page
    fill(tmp_path / "audit.db", [entry(number, request_content=content) for number in range(1, 26)])
    found = pages(archive(tmp_path / "audit.db"), Query(limit=1000))
    assert [len(page) for page in found] == [10, 10, 5]
    assert [*chain.from_iterable(found)] == list(range(25, 0, -1))


def test_an_entry_that_is_larger_than_a_page_is_a_page(tmp_path: Path) -> None:
    large = "x" * (MOST_PAGE_BYTES + 1)
    fill(tmp_path / "audit.db", [entry(1), entry(2, answer_content=large), entry(3, answer_content=large)])
    assert pages(archive(tmp_path / "audit.db"), Query()) == [[3], [2], [1]]


@pytest.mark.parametrize("limit", [1, STEP - 1, STEP, STEP + 1, 2 * STEP, 299, 300, 301, 1000])
def test_entries_without_content_fill_pages_to_their_limit(tmp_path: Path, limit: int) -> None:
    fill(tmp_path / "audit.db", mixed(300))
    found = pages(archive(tmp_path / "audit.db"), Query(limit=limit))
    assert [*chain.from_iterable(found)] == list(range(300, 0, -1))
    assert {len(page) for page in found[:-1]} <= {limit}


def test_filters_that_no_index_has_together_lose_nothing(tmp_path: Path) -> None:
    entries = mixed(3000)
    fill(tmp_path / "audit.db", entries)
    wanted = [one.sequence for one in entries[::-1] if one.tenant == "team-a" and one.status == 404]
    found = pages(archive(tmp_path / "audit.db"), Query(tenant="team-a", status=404, limit=120))
    assert [*chain.from_iterable(found)] == wanted
