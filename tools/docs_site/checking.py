"""What must hold of the built site: every link, anchor and asset is there, and nothing is loaded from elsewhere."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADS = {"link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src"}


@dataclass(slots=True)
class Page:
    """What a page of HTML has that can be checked. Filled by the reader alone."""

    file: Path
    ids: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    tags: Counter[str] = field(default_factory=Counter)
    current: int = 0
    bare_rows: int = 0


class _Reader(HTMLParser):
    def __init__(self, page: Page) -> None:
        super().__init__()
        self._page = page
        self._ended: Counter[str] = Counter()

    def handle_data(self, data: str) -> None:
        if not self._page.tags["pre"] - self._ended["pre"]:
            self._page.bare_rows += sum(line.startswith("| ") for line in data.splitlines())

    def handle_endtag(self, tag: str) -> None:
        self._ended[tag] += 1

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._page.tags[tag] += 1
        self._page.current += values.get("aria-current") == "page"
        if "id" in values:
            self._page.ids.append(values["id"])
        if tag == "a" and "href" in values:
            self._page.links.append(values["href"])
        if tag in LOADS and LOADS[tag] in values:
            self._page.loads.append(values[LOADS[tag]])


def reasons(site: Path) -> list[str]:
    """A line for each thing that is wrong, beginning with the page's name."""
    pages = {file.resolve(): read(file) for file in sorted(site.rglob("*.html"))}
    if not pages:
        return [f"{site}: there is no page"]
    return [f"{page.file.name}: {line}" for page in pages.values() for line in _of_page(page, pages)]


def read(file: Path) -> Page:
    """The page in that file."""
    page = Page(file)
    _Reader(page).feed(file.read_text())
    return page


def _of_page(page: Page, pages: dict[Path, Page]) -> Iterator[str]:
    if page.tags["h1"] != 1:
        yield f"{page.tags['h1']} headings of the first level"
    if page.current > 1:
        yield f"{page.current} links are marked as this page"
    if page.bare_rows:
        yield f"{page.bare_rows} rows stand outside of a table: leave a blank line before and after it"
    yield from (f"the id {name} stands there {count} times" for name, count in Counter(page.ids).items() if count > 1)
    for link in page.links:
        yield from _of_link(page, link, pages)
    for address in page.loads:
        if urlsplit(address).scheme not in ("", "data"):
            yield f"{address} is loaded from elsewhere"
        elif not address.startswith("data:") and not (page.file.parent / address).is_file():
            yield f"{address} is not there"


def _of_link(page: Page, link: str, pages: dict[Path, Page]) -> Iterator[str]:
    parts = urlsplit(link)
    if parts.scheme in ("http", "https", "mailto"):
        return
    target = (page.file.parent / unquote(parts.path)).resolve() if parts.path else page.file.resolve()
    if parts.scheme or parts.path.startswith("/"):
        yield f"{link} works at one address only"
    elif target.suffix == ".md" or not target.is_file():
        yield f"{link} leads nowhere"
    elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids:
        yield f"{link}: there is no such heading"
