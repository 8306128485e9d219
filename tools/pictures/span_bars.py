"""Spans as bars over time, in SVG."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Final, NamedTuple

from tools.pictures.canvas import framed

WIDTH: Final = 980
LEFT: Final = 250  # where time begins
ROW: Final = 62
TOP: Final = 46
_COLOURS: Final = ("#3b6fb6", "#7a4fb0", "#2f8f6b")  # by depth
_PHASES: Final = (
    ("aigw.phase.body", "body", "#6b6b6b"),
    ("aigw.phase.load", "load", "#b0413e"),
    ("aigw.phase.queue", "queue", "#8a5d00"),
    ("aigw.phase.prefill", "prefill", "#7a5cc0"),
    ("aigw.phase.load_and_prefill", "load and prefill", "#b0413e"),
    ("aigw.phase.decode", "decode", "#7a4fb0"),
)


class Mark(NamedTuple):
    """An event."""

    name: str
    at_ns: int


class Bar(NamedTuple):
    """A span; times in Unix nanoseconds, attributes as text."""

    name: str
    depth: int
    start_ns: int
    end_ns: int
    attributes: Mapping[str, str]
    marks: Sequence[Mark]


class Scale(NamedTuple):
    """From time to the picture's width."""

    start_ns: int
    end_ns: int

    def x(self, at_ns: float) -> float:
        """Where a moment lies."""
        return LEFT + (at_ns - self.start_ns) / (self.end_ns - self.start_ns) * (WIDTH - LEFT - 24)


def drawing(bars: Sequence[Bar]) -> str:
    """The whole picture."""
    scale = Scale(min(bar.start_ns for bar in bars), max(bar.end_ns for bar in bars))
    height = TOP + ROW * len(bars) + 12
    parts = list(_ticks(scale, height))
    for number, bar in enumerate(bars):
        parts += _row(bar, TOP + number * ROW, scale)
    title = "A trace: a call that waited, was cut on one endpoint and answered by another"
    return framed((WIDTH, height), title, parts)


def _ticks(scale: Scale, height: int) -> Iterator[str]:
    whole_ms = (scale.end_ns - scale.start_ns) / 1e6
    step = next(step for step in (50, 100, 200, 500, 1000, 2000) if whole_ms / step <= 9)
    for ms in range(0, int(whole_ms) + 1, step):
        x = scale.x(scale.start_ns + ms * 1e6)
        yield f'<path d="M{x:.1f} 30V{height - 8}" class="tick"/>'
        yield _text(x, 22, f"{ms} ms", 'class="small soft" text-anchor="middle"')


def _row(bar: Bar, y: int, scale: Scale) -> Iterator[str]:
    yield _text(12 + 14 * bar.depth, y + 14, bar.name, 'class="small head"')
    yield _text(12 + 14 * bar.depth, y + 30, _caption(bar), 'class="small soft"')
    left, right = scale.x(bar.start_ns), scale.x(bar.end_ns)
    error = bar.attributes.get("error.type")
    colour = "#b0413e" if error else _COLOURS[min(bar.depth, len(_COLOURS) - 1)]
    phases = list(_phases(bar, y, scale))
    if phases:
        yield from phases
    else:
        yield f'<rect x="{left:.1f}" y="{y}" width="{max(2, right - left):.1f}" height="18" rx="3" fill="{colour}"/>'
    for number, mark in enumerate(bar.marks):
        x = scale.x(mark.at_ns)
        yield f'<path d="M{x:.1f} {y - 3}v24" class="mark"/>'
        name = mark.name.removeprefix("aigw.")
        yield _text(x + 3, y + 31 + 11 * (number % 2), name, 'class="small"')


def _phases(bar: Bar, y: int, scale: Scale) -> Iterator[str]:
    """The phases of a GenAI span, each where it lies: they end with the span, the last one first."""
    if not any(key in bar.attributes for key, _, _ in _PHASES):
        return
    spans = _laid_out(bar)
    for name, colour, start, end in spans:
        left, right = scale.x(start), scale.x(end)
        yield f'<rect x="{left:.1f}" y="{y}" width="{max(1, right - left):.1f}" height="18" rx="2" fill="{colour}"/>'
        if right - left > 7 * len(name):
            yield _text((left + right) / 2, y + 13, name, 'class="small head on" text-anchor="middle"')


def _laid_out(bar: Bar) -> list[tuple[str, str, float, float]]:
    seconds: dict[str, float] = {name: float(bar.attributes[key]) for key, name, _ in _PHASES if key in bar.attributes}
    colours: dict[str, str] = {name: colour for _, name, colour in _PHASES}
    laid: list[tuple[str, str, float, float]] = []
    end = float(bar.end_ns)
    for name in ("decode", "load and prefill", "prefill"):
        if name in seconds:
            laid.append((name, colours[name], end - seconds[name] * 1e9, end))
            end -= seconds[name] * 1e9
    begun = float(bar.start_ns)
    for name in ("load", "queue"):
        if name in seconds:
            laid.append((name, colours[name], begun, begun + seconds[name] * 1e9))
            begun += seconds[name] * 1e9
    if "queue" in seconds and end - begun > 1e6:
        laid.append(("until the retry", "#965c52", begun, end))
    return laid


def _caption(bar: Bar) -> str:
    said = bar.attributes
    if "gen_ai.usage.output_tokens" in said:
        return f"{said['gen_ai.usage.input_tokens']} tokens in, {said['gen_ai.usage.output_tokens']} out"
    if "url.full" in said:
        warm = "resident" if said.get("aigw.pick.warm") == "True" else "not resident"
        return f"{said.get('error.type') or said.get('http.response.status_code')} · {warm}"
    return f"{said.get('http.response.status_code')} · {said.get('aigw.outcome')}"


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'
