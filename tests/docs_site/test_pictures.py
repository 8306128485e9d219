"""The drawn pictures: they are what the script makes, say what the program does, and can be read in light and dark."""

import re
from typing import Literal, get_args

import pytest
from tests.docs_site.chromium import Browser
from tests.docs_site.contrast import LEAST, contrast
from tools.docs_site.staging import DOCS
from tools.pictures.__main__ import IMAGES, PICTURES
from tools.pictures.canvas import COLOURS

from ai_gateway.balancing.endpoint import FIRST_EJECTION_SECONDS, LONGEST_EJECTION_SECONDS, THRESHOLD, State
from ai_gateway.cli.serve import CLUSTER_DRAIN_SECONDS
from ai_gateway.config.types import Config

PAGES = "\n".join(page.read_text() for page in DOCS.glob("*.md"))
FILLS = ("ground", "plain", "own", "good", "bad")
# Of each text its box, in pixels of the picture; and of a text in a box how much of it stands beyond that box's edges.
OUTSIDE = """
[...document.querySelectorAll("text")].filter((text) => {
  const box = text.getBBox();
  const frame = text.closest(".box")?.querySelector("rect").getBBox();
  const [width, height] = [document.documentElement.width.baseVal.value, document.documentElement.height.baseVal.value];
  const room = frame ?? { x: 4, y: 4, width: width - 8, height: height - 8 };
  return box.x < room.x + 2 || box.x + box.width > room.x + room.width - 2 ||
    box.y < room.y || box.y + box.height > room.y + room.height;
}).map((text) => text.textContent)
"""
OVERLAPPING = """
(() => {
  const texts = [...document.querySelectorAll("text")].map((text) => [text.textContent, text.getBBox()]);
  return texts.flatMap(([one, a], index) => texts.slice(index + 1).filter(([, b]) =>
    a.x < b.x + b.width && b.x < a.x + a.width && a.y + 4 < b.y + b.height && b.y + 4 < a.y + a.height
  ).map(([other]) => `${one} / ${other}`));
})()
"""


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_the_one_that_the_script_makes(name: str) -> None:
    assert (IMAGES / name).read_text() == PICTURES[name](), "run: make generate"


@pytest.mark.parametrize("name", sorted(file.name for file in IMAGES.iterdir()))
def test_a_picture_stands_on_a_page_and_is_told_in_words(name: str) -> None:
    """For who cannot see it."""
    marked = re.findall(rf"!\[([^\]]+)\]\(images/{name}\)", PAGES)
    tagged = re.findall(rf'<img src="images/{name}" alt="([^"]+)"', PAGES)
    assert [len(words) > 40 for words in marked + tagged] == [True]
    assert re.search(r"<title>.{20,}</title>", (IMAGES / name).read_text())


def test_the_states_are_those_of_the_program() -> None:
    text = (IMAGES / "states.svg").read_text()
    assert {state for state in get_args(State) if f">{state}</text>" not in text} == set()
    assert f"{THRESHOLD} failures in a row" in text
    assert f"{FIRST_EJECTION_SECONDS:g} to {LONGEST_EJECTION_SECONDS:g} s" in text


def test_the_times_of_the_drain_are_the_defaults() -> None:
    text = (IMAGES / "drain.svg").read_text()
    assert f"{CLUSTER_DRAIN_SECONDS:g} s: delay" in text
    assert f"{Config().drain.grace / 60:g} min later: grace" in text


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("ink", ["text", "soft"])
def test_words_stand_out_from_what_they_stand_on(mode: int, fill: str, ink: str) -> None:
    assert contrast(COLOURS[ink][mode], COLOURS[fill][mode]) >= LEAST


@pytest.mark.site
@pytest.mark.parametrize("name", sorted(file.name for file in IMAGES.iterdir()))
def test_all_words_have_room(tab: Browser, name: str) -> None:
    """None leaves its box or the picture, and none lies over another."""
    tab.open((IMAGES / name).as_uri())
    assert tab.evaluate(OUTSIDE) == []
    assert tab.evaluate(OVERLAPPING) == []


@pytest.mark.site
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", sorted(file.name for file in IMAGES.iterdir()))
def test_a_picture_is_as_light_or_dark_as_the_readers_system(
    tab: Browser, name: str, scheme: Literal["light", "dark"]
) -> None:
    tab.open((IMAGES / name).as_uri(), scheme=scheme)
    colour = tab.evaluate('getComputedStyle(document.querySelector(".ground")).fill')
    assert colour == _rgb(COLOURS["ground"][scheme == "dark"])


def _rgb(colour: str) -> str:
    return f"rgb({', '.join(str(int(colour[at : at + 2], 16)) for at in (1, 3, 5))})"
