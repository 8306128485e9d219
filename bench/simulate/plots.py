"""Pictures of a run as SVG: how long calls wait for their first token, by policy and world, on a logarithmic scale."""

import math
from collections.abc import Sequence
from html import escape
from typing import Final, NamedTuple

from tools.pictures.canvas import Area, framed

from bench.simulate.experiment import Results
from bench.simulate.measures import CURVE
from bench.simulate.policies import POLICIES
from bench.simulate.ratios import geometric
from bench.simulate.worlds import World

_LEFT, _TOP, _ROW, _RIGHT = 270.0, 70.0, 26.0, 30.0
_PANEL: Final = 520.0
_SECONDS: Final = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
_COLOURS: Final = (
    "#0b5cad", "#a8322a", "#1b6e3c", "#9a6a00", "#7a3e9d", "#00838f", "#d0578d", "#5a6473", "#6fae2d", "#e07b00",
    "#8d6e63", "#3f51b5",
)  # fmt: skip


class Scale(NamedTuple):
    """A logarithmic scale from pixels to pixels; what lies beyond is put at its ends."""

    begin: float
    end: float
    lowest: float = _SECONDS[0]
    highest: float = _SECONDS[-1]

    def at(self, value: float) -> float:
        """The place of a value."""
        inside = min(max(value, self.lowest), self.highest)
        share = math.log(inside / self.lowest) / math.log(self.highest / self.lowest)
        return self.begin + share * (self.end - self.begin)


def intervals(results: Results, worlds: Sequence[World], policies: Sequence[str]) -> str:
    """A panel for each world: a dot for each policy's 95th percentile, with its interval over the seeds."""
    height = _TOP + len(worlds) * (len(policies) * _ROW + 56)
    scale = Scale(_LEFT, _LEFT + _PANEL)
    parts = [_words(24, 34, "p95 of the time to the first token, in seconds (geometric mean and 95 % of it)", "head")]
    top = _TOP
    for world in worlds:
        bottom = top + len(policies) * _ROW
        parts += [_words(24, top - 4, world.name, "head"), *_grid(scale, top, bottom)]
        for row, policy in enumerate(policies):
            y = top + (row + 0.5) * _ROW
            mean = geometric(results.values(world.name, policy, lambda one: one.p95))
            parts += [_words(_LEFT - 12, y + 5, POLICIES[policy].title, "soft", "end"), *_dot(scale, y, mean)]
        top = bottom + 56
    return framed((int(_LEFT + _PANEL + _RIGHT), int(height)), "Time to the first token by policy and world", parts)


def curves(results: Results, world: World, policies: Sequence[str]) -> str:
    """The waits of all calls of a world: a line for each policy, from the shortest to the longest of its waits."""
    area = Area(70.0, 60.0, 560.0, 380.0)
    scale = Scale(area.bottom, area.y)
    parts = [
        _words(24, 34, f"World {world.name}: time to the first token, in seconds, by the share of the calls", "head")
    ]
    for value in _SECONDS:
        y = scale.at(value)
        parts += [_line("tick", (area.x, y), (area.right, y)), _words(area.x - 10, y + 5, f"{value:g}", "soft", "end")]
    for share in (0.0, 0.25, 0.5, 0.75, 0.95):
        x = area.x + share * area.width
        parts += [
            _line("tick", (x, area.y), (x, area.bottom)),
            _words(x, area.bottom + 20, f"{share:.0%}", "soft", "middle"),
        ]
    for number, policy in enumerate(policies):
        colour = _COLOURS[number % len(_COLOURS)]
        waits = zip(*(one.curve for one in results.measures[world.name, policy]), strict=True)
        points = [
            (area.x + share * area.width, scale.at(geometric(some).value))
            for share, some in zip(CURVE, waits, strict=True)
        ]
        y = area.y + 12 + number * 24
        parts += [_curve(points, colour), _curve([(area.right + 24, y - 5), (area.right + 48, y - 5)], colour)]
        parts.append(_words(area.right + 56, y, POLICIES[policy].title, "soft"))
    return framed((int(area.right + 320), int(area.bottom + 40)), f"Waits of all calls in world {world.name}", parts)


def _grid(scale: Scale, top: float, bottom: float) -> list[str]:
    parts: list[str] = []
    for value in _SECONDS:
        x = scale.at(value)
        parts += [_line("tick", (x, top), (x, bottom)), _words(x, bottom + 18, f"{value:g}", "soft", "middle")]
    return parts


def _dot(scale: Scale, y: float, mean: tuple[float, float, float]) -> list[str]:
    value, low, high = (scale.at(one) for one in mean)
    return [
        f'<path class="mark" d="M{low:.1f} {y:.1f}H{high:.1f}"/>',
        f'<circle class="own" cx="{value:.1f}" cy="{y:.1f}" r="5"/>',
    ]


def _curve(points: Sequence[tuple[float, float]], colour: str) -> str:
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'


def _line(style: str, begin: tuple[float, float], end: tuple[float, float]) -> str:
    return f'<path class="{style}" d="M{begin[0]:.1f} {begin[1]:.1f}L{end[0]:.1f} {end[1]:.1f}"/>'


def _words(x: float, y: float, text: str, style: str, anchor: str = "start") -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
