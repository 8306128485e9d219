"""Boxes, arrows and words as SVG, light or dark as the reader's system is. Units are pixels, y grows downwards."""

from collections.abc import Sequence
from html import escape
from typing import Final, Literal, NamedTuple

Kind = Literal["plain", "own", "good", "bad", "group"]
LINE: Final = 19
# Light and dark, as docs/assets/docs.css has them; the ground is painted, since not every page follows the system.
COLOURS: Final = {
    "ground": ("#ffffff", "#12161d"),
    "text": ("#1d2430", "#e3e7ed"),
    "soft": ("#5a6473", "#a3adbb"),
    "line": ("#646e7c", "#939eae"),
    "plain": ("#f4f5f7", "#1b212b"),
    "own": ("#e6effa", "#22344a"),
    "own-line": ("#0b5cad", "#7db7f5"),
    "good": ("#e3f4e8", "#173626"),
    "good-line": ("#1b6e3c", "#8fd0a3"),
    "bad": ("#fbe9e7", "#432220"),
    "bad-line": ("#a8322a", "#f0a199"),
}
_RULES: Final = """\
svg { font: 15px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif; }
text { fill: var(--text); }
.head { font-weight: 650; }
.soft { fill: var(--soft); font-size: 14px; }
.ground { fill: var(--ground); }
rect { stroke-width: 1.5; }
.plain { fill: var(--plain); stroke: var(--line); }
.own { fill: var(--own); stroke: var(--own-line); }
.good { fill: var(--good); stroke: var(--good-line); }
.bad { fill: var(--bad); stroke: var(--bad-line); }
.group { fill: none; stroke: var(--line); stroke-dasharray: 5 4; }
.arrow { fill: none; stroke: var(--line); stroke-width: 1.7; }
.tip { fill: var(--line); }
.tick { stroke: var(--line); stroke-dasharray: 3 4; }
.small { font-size: 12px; }
.on { fill: #ffffff; }
.mark { stroke: var(--text); stroke-width: 1.5; }"""
_TIP: Final = (
    '<marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" '
    'orient="auto-start-reverse">'
    '<path class="tip" d="M0 1 10 5 0 9z"/></marker>'
)


class Area(NamedTuple):
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """The x of its right edge."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """The y of its lower edge."""
        return self.y + self.height

    @property
    def middle(self) -> tuple[float, float]:
        """Of both directions."""
        return self.x + self.width / 2, self.y + self.height / 2


class Canvas:
    """Collects what is drawn, in the order in which it is drawn; `svg` is the picture."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self._size = (width, height)
        self._title = title
        self._parts: list[str] = []

    def box(self, area: Area, lines: Sequence[str], kind: Kind = "plain") -> None:
        """A box with its words in the middle, the first line of several as a heading."""
        x, middle = area.middle
        y = middle - (len(lines) - 1) * LINE / 2 + 5
        words = [
            _text(x, y + number * LINE, line, "soft" if number else "head", "middle")
            for number, line in enumerate(lines)
        ]
        self._parts.append(f'<g class="box">{_rectangle(area, kind)}{"".join(words)}</g>')

    def group(self, area: Area, name: str) -> None:
        """A frame around boxes, with its name at its upper edge."""
        self.shape(area, "group")
        self.words(area.x + 12, area.y + 22, name, "soft")

    def shape(self, area: Area, kind: Kind) -> None:
        """A box without words."""
        self._parts.append(_rectangle(area, kind))

    def words(self, x: float, y: float, text: str, style: str = "", anchor: str = "start") -> None:
        """One line; `y` is where the letters stand."""
        self._parts.append(_text(x, y, text, style, anchor))

    def arrow(self, *points: tuple[float, float], is_double: bool = False) -> None:
        """Along these points, with a tip at the last one, or at both ends."""
        path = "M" + "L".join(f"{x:g} {y:g}" for x, y in points)
        begin = ' marker-start="url(#tip)"' if is_double else ""
        self._parts.append(f'<path class="arrow" d="{path}"{begin} marker-end="url(#tip)"/>')

    def tick(self, x: float, top: float, bottom: float) -> None:
        """A dotted line down a moment."""
        self._parts.append(f'<path class="tick" d="M{x:g} {top:g}V{bottom:g}"/>')

    def svg(self) -> str:
        """The whole picture."""
        return framed(self._size, self._title, self._parts)


def framed(size: tuple[int, int], title: str, parts: Sequence[str]) -> str:
    """Parts of SVG as a picture of its own, with a title, a ground and the colours."""
    width, height = size
    place = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {place} role="img">'
    light, dark = (" ".join(f"--{name}: {colours[mode]};" for name, colours in COLOURS.items()) for mode in (0, 1))
    style = f":root {{ {light} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n{_RULES}"
    ground = f'<rect class="ground" width="{width}" height="{height}" rx="8"/>'
    return "\n".join(
        [head, f"<title>{escape(title)}</title>", f"<style>\n{style}\n</style>", _TIP, ground, *parts, "</svg>", ""]
    )


def _rectangle(area: Area, kind: Kind) -> str:
    size = f'x="{area.x:g}" y="{area.y:g}" width="{area.width:g}" height="{area.height:g}"'
    return f'<rect class="{kind}" {size} rx="8"/>'


def _text(x: float, y: float, text: str, style: str, anchor: str) -> str:
    return f'<text class="{style}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'
