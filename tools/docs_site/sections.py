"""The built pages cut at their headings: what the search finds."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Final, TypedDict

HEADINGS: Final = ("h1", "h2", "h3")


class Section(TypedDict):
    """A heading with all text up to the next one. `url` is relative to the site; `page` is the page's own heading."""

    id: int
    url: str
    page: str
    heading: str
    text: str


def sections(site: Path) -> list[Section]:
    """Those of all pages, pages by name, each from top to bottom."""
    found: list[Section] = []
    for file in sorted(site.glob("*.html")):
        reader = _Reader()
        reader.feed(file.read_text())
        page = _plain(reader.parts[0].heading) if reader.parts else ""
        for part in reader.parts:
            url = file.name if part.level == "h1" else f"{file.name}#{part.anchor}"
            section = Section(
                id=len(found), url=url, page=page, heading=_plain(part.heading), text=_plain(" ".join(part.text))
            )
            found.append(section)
    return found


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


class _Part:
    """Filled by the reader alone."""

    def __init__(self, level: str, anchor: str) -> None:
        self.level = level
        self.anchor = anchor
        self.heading = ""
        self.text: list[str] = []


class _Reader(HTMLParser):
    """Fills `parts` with what stands between `<article>` and `</article>`."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[_Part] = []
        self._is_inside = False
        self._heading = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "article":
            self._is_inside = True
        elif self._is_inside and tag in HEADINGS and "id" in values:
            self.parts.append(_Part(tag, values["id"]))
            self._heading = tag
        elif self._is_inside and tag == "img" and self.parts:
            self.parts[-1].text.append(values.get("alt", ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "article":
            self._is_inside = False
        if tag == self._heading:
            self._heading = ""
        elif self._is_inside and self.parts and tag in ("p", "li", "td", "th", "pre", "h4"):
            self.parts[-1].text.append(" ")  # words of two cells are two words

    def handle_data(self, data: str) -> None:
        if not self._is_inside or not self.parts:
            return
        if self._heading:
            self.parts[-1].heading += data
        else:
            self.parts[-1].text.append(data)
