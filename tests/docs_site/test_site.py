"""The site of the docs: what its layout owes to readers, and that the check of `make docs` sees what is wrong."""

import re
from itertools import product
from pathlib import Path

import pytest
import yaml
from tests.docs_site.contrast import LEAST, contrast
from tools.docs_site.checking import reasons
from tools.docs_site.staging import DOCS, stage

LAYOUT = (DOCS / "_layouts" / "docs.html").read_text()
STYLE = (DOCS / "assets" / "docs.css").read_text()
SEARCH = (DOCS / "assets" / "search.js").read_text()
INKS = ("text", "soft", "link", "comment", "keyword", "string", "number", "key")
GOOD = '<!doctype html><html lang="en"><h1 id="top">A</h1><a href="other.html#top">B</a><link href="a.css"></html>'


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Two pages and a stylesheet with which nothing is wrong."""
    (tmp_path / "index.html").write_text(GOOD)
    (tmp_path / "other.html").write_text(GOOD)
    (tmp_path / "a.css").write_text("")
    return tmp_path


def test_nothing_is_said_of_a_good_site(site: Path) -> None:
    assert reasons(site) == []


def test_an_empty_site_is_no_good_one(tmp_path: Path) -> None:
    assert reasons(tmp_path) == [f"{tmp_path}: there is no page"]


@pytest.mark.parametrize(
    ("added", "reason"),
    [
        ('<a href="gone.html">', "gone.html leads nowhere"),
        ('<a href="other.md">', "other.md leads nowhere"),
        ('<a href="other.html#gone">', "other.html#gone: there is no such heading"),
        ('<a href="#gone">', "#gone: there is no such heading"),
        ('<a href="/other.html">', "/other.html works at one address only"),
        ('<a href="javascript:go()">', "javascript:go() works at one address only"),
        ('<img src="gone.png">', "gone.png is not there"),
        ('<script src="https://a.example/b.js"></script>', "https://a.example/b.js is loaded from elsewhere"),
        ('<p id="top">', "the id top stands there 2 times"),
        ("<h1>Again</h1>", "2 headings of the first level"),
        ("<p>| a | b |\n| c | d |</p>", "2 rows stand outside of a table: leave a blank line before and after it"),
    ],
)
def test_the_check_names_what_is_wrong(site: Path, added: str, reason: str) -> None:
    (site / "index.html").write_text(GOOD + added)
    assert reasons(site) == [f"index.html: {reason}"]


def test_links_to_elsewhere_in_the_repository_come_along(tmp_path: Path) -> None:
    stage(tmp_path / "staged")
    texts = {file.name: file.read_text() for file in (tmp_path / "staged").glob("*.md")}
    targets = {target for text in texts.values() for target in re.findall(r"\]\(([^)#\s]+)", text)}
    assert [target for target in targets if target.startswith(("..", "docs/"))] == []
    assert {target for target in targets if target.endswith(".md")} <= texts.keys()
    assert all(text.startswith("---\nlayout: docs\n") for text in texts.values())


def test_nothing_is_loaded_from_elsewhere() -> None:
    assert not re.search(r"https?://|@import|url\(", LAYOUT + STYLE + SEARCH)
    assert re.findall("<script.*", LAYOUT) == ['<script src="assets/search.js"></script>']


def test_without_scripts_no_field_is_shown_that_does_nothing() -> None:
    assert re.search('<form class="search"[^>]* hidden>', LAYOUT)
    assert "form.hidden = false;" in SEARCH


@pytest.mark.parametrize(
    "part", ['lang="en"', 'name="viewport"', 'class="skip" href="#content"', 'id="content"', 'aria-current="page"']
)
def test_the_layout_is_for_every_reader(part: str) -> None:
    assert part in LAYOUT


def test_examples_may_hold_the_braces_of_a_chart() -> None:
    config = yaml.safe_load((DOCS / "_config.yml").read_text())
    assert config["defaults"][0]["values"] == {"render_with_liquid": False}


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("ground", "ink"), [*product(("page", "quiet"), INKS), ("mark", "text")])
def test_text_stands_out_from_its_ground(mode: int, ground: str, ink: str) -> None:
    colours = [re.findall(rf"--{name}: (#\w{{6}});", STYLE)[mode] for name in (ink, ground)]
    assert contrast(*colours) >= LEAST


def test_the_first_page_opens_with_a_picture_and_three_ways_in() -> None:
    text = (DOCS / "index.md").read_text()
    heading, picture, ways = (
        text.index(part) for part in ("\n# ", "(images/standing.svg)", "| I call it | I run it |")
    )
    assert heading < picture < ways < text.index("\n## ")
    assert "| I am on call |" in text


def test_the_first_page_lists_all_pages() -> None:
    linked = set(re.findall(r"\]\(([a-z-]+\.(?:md|yaml))\)", (DOCS / "index.md").read_text()))
    assert {page.name for page in DOCS.iterdir() if page.suffix in (".md", ".yaml")} - {"index.md"} <= linked
