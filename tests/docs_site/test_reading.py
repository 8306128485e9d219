"""The built site in a real Chromium: it fits the window, its code can be read, and it is light or dark as asked."""

from pathlib import Path
from typing import Literal

import pytest
from tests.docs_site.chromium import Browser
from tools.docs_site.staging import DOCS

pytestmark = pytest.mark.site
WIDTHS = (360, 768, 1280, 1600)
TOO_WIDE = """
[...document.querySelectorAll("body *")]
  .filter((element) => element.getBoundingClientRect().right > innerWidth + 1)
  .filter((element) => !element.parentElement.closest(".scroll, pre, .skip") && !element.matches(".skip"))
  .map((element) => `${element.tagName} ${element.textContent.trim().slice(0, 40)}`)
"""
ROOM_FOR_CODE = """
(() => {
  const block = document.querySelector("pre");
  block.textContent = "0".repeat(100);
  return block.clientWidth >= block.scrollWidth;
})()
"""


@pytest.mark.parametrize("width", WIDTHS)
def test_no_page_scrolls_sideways(address: str, built: Path, tab: Browser, width: int) -> None:
    """What is wide scrolls in a frame of its own; the page stays."""
    pages = sorted(built.glob("*.html"))
    assert len(pages) >= len(list(DOCS.glob("*.md")))
    for page in pages:
        tab.open(address + page.name, width)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, page.name
        assert tab.evaluate(TOO_WIDE) == [], page.name


@pytest.mark.parametrize("width", [1280, 1440, 1600])
def test_a_hundred_characters_of_code_fit(address: str, tab: Browser, width: int) -> None:
    """So does every line of a block on a screen of a laptop."""
    tab.open(address + "observability.html", width)
    assert tab.evaluate(ROOM_FOR_CODE)


def test_what_scrolls_can_be_scrolled_with_keys(address: str, tab: Browser) -> None:
    """A frame that is narrower than what it holds takes the focus."""
    tab.open(address + "observability.html", 360)
    unreachable = """[...document.querySelectorAll("pre, .scroll")]
        .filter((frame) => frame.scrollWidth > frame.clientWidth && frame.tabIndex < 0).length"""
    assert tab.evaluate(unreachable) == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_is_as_light_or_dark_as_the_readers_system(
    address: str, tab: Browser, scheme: Literal["light", "dark"]
) -> None:
    tab.open(address + "index.html", scheme=scheme)
    red = int(tab.evaluate("getComputedStyle(document.body).backgroundColor").split("(")[1].split(",")[0])
    assert (red > 200) == (scheme == "light")
