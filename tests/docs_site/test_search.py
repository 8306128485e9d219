"""The search over all pages, as a reader uses it: in a real Chromium, with keys, on a server that knows only files."""

import hashlib
import json
import re
from pathlib import Path

import pytest
from tests.docs_site.chromium import Browser
from tools.docs_site.sections import sections
from tools.docs_site.staging import DOCS

FIELD = 'document.querySelector(".search input")'
STATUS = 'document.querySelector(".search [role=status]").textContent'
LINKS = '[...document.querySelectorAll(".search li a")].map((link) => link.getAttribute("href"))'
SETTLED = """new Promise((done) => {
  const look = () => document.querySelector(".search [role=status]").textContent ? done() : setTimeout(look, 10);
  look();
})"""
# MiniSearch 7.2.0 as npm has it: dist/umd/index.js of the package whose integrity docs/decisions.md names.
LIBRARY_SHA256 = "03c27931eb603af1d3358579e9885eafdb6a2f5fa9929557b3e77d7e99d06d03"


def _search(tab: Browser, address: str, words: str, page: str = "index.html", width: int = 1280) -> list[str]:
    """The links that typing these words brings, best first."""
    tab.open(address + page, width)
    tab.press("/")
    tab.type(words)
    tab.evaluate(SETTLED)
    links: list[str] = tab.evaluate(LINKS)
    return [link.removeprefix(address) for link in links]


def test_the_library_is_the_one_that_was_chosen() -> None:
    """Byte for byte, with its licence beside it."""
    assert hashlib.sha256((DOCS / "assets" / "minisearch.js").read_bytes()).hexdigest() == LIBRARY_SHA256
    assert "`minisearch@7.2.0`" in (DOCS / "decisions.md").read_text()
    assert (DOCS / "assets" / "minisearch-license.txt").read_text().startswith("Copyright")


def test_a_section_reaches_to_the_next_heading(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<nav>no</nav><article><h1 id="a">A &amp; B</h1><p>one</p><h2 id="c">C</h2><table><tr><td>two</td>'
        '<td>three</td></tr></table><p><img alt="four"></p></article><footer>no</footer>'
    )
    assert sections(tmp_path) == [
        {"id": 0, "url": "a.html", "page": "A & B", "heading": "A & B", "text": "one"},
        {"id": 1, "url": "a.html#c", "page": "A & B", "heading": "C", "text": "two three four"},
    ]


@pytest.mark.site
def test_the_index_holds_every_page_and_every_heading(built: Path) -> None:
    text = (built / "assets" / "search-index.js").read_text()
    index = json.loads(text.removeprefix("window.searchIndex = ").rstrip(";\n"))["index"]
    urls = {stored["url"] for stored in index["storedFields"].values()}
    assert {page.name for page in built.glob("*.html")} <= urls
    page = (built / "kubernetes.html").read_text()
    assert {f"kubernetes.html#{name}" for name in re.findall(r'<h[23] id="([^"]+)"', page)} <= urls


@pytest.mark.site
@pytest.mark.parametrize(
    ("words", "url"),
    [
        ("retry_budget", "configuration.html#balancing"),
        ("server_shutdown", "kubernetes.html#leaving"),
        ("simulator", "simulator.html"),
        ("OpenID", "security.html#openid-connect"),
        ("openid conect", "security.html#openid-connect"),
    ],
)
def test_a_search_finds_the_section(address: str, tab: Browser, words: str, url: str) -> None:
    """A key, a code, a page's name, a heading, and a heading with a slip of the finger; among the first three."""
    assert url in _search(tab, address, words)[:3]


@pytest.mark.site
def test_nothing_found_is_said_in_words(address: str, tab: Browser) -> None:
    assert _search(tab, address, "xylophone") == []
    assert tab.evaluate(STATUS) == "No results for “xylophone”."


@pytest.mark.site
def test_keys_alone_lead_to_a_result(address: str, tab: Browser) -> None:
    """A slash to the field, an arrow to the first result, Enter to open it."""
    first = _search(tab, address, "simulator")[0]
    tab.press("ArrowDown")
    assert tab.evaluate("document.activeElement.href") == address + first
    tab.open_by(lambda: tab.press("Enter"))
    assert tab.evaluate("location.href") == address + first


@pytest.mark.site
def test_enter_in_the_field_opens_the_first_result(address: str, tab: Browser) -> None:
    first = _search(tab, address, "simulator")[0]
    tab.open_by(lambda: tab.press("Enter"))
    assert tab.evaluate("location.href") == address + first


@pytest.mark.site
def test_escape_closes_the_results_and_stays_in_the_field(address: str, tab: Browser) -> None:
    _search(tab, address, "simulator")
    tab.press("ArrowDown")
    tab.press("Escape")
    assert tab.evaluate(LINKS) == []
    assert tab.evaluate(f"document.activeElement === {FIELD} && {FIELD}.value === ''")


@pytest.mark.site
@pytest.mark.parametrize("width", [360, 1280])
def test_results_stay_inside_the_window(address: str, tab: Browser, width: int) -> None:
    _search(tab, address, "config", "observability.html", width)
    box = tab.evaluate('document.querySelector(".results").getBoundingClientRect().toJSON()')
    assert 0 <= box["left"] <= box["right"] <= width
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.site
def test_a_screen_reader_is_told_what_the_parts_are(address: str, tab: Browser) -> None:
    """Roles and names as Chromium hands them to assistive technology."""
    _search(tab, address, "simulator")
    nodes = tab.ask("Accessibility.getFullAXTree")["nodes"]
    told = {(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if "role" in node}
    assert {("search", "All pages"), ("searchbox", "Search all pages"), ("list", "Results")} <= told
    assert "status" in {role for role, _ in told}


@pytest.mark.site
def test_it_works_from_a_disk(built: Path, tab: Browser) -> None:
    folder = built.as_uri() + "/"
    assert "simulator.html" in _search(tab, folder, "simulator")[:3]
