"""A drain on a time line: what a gateway does between SIGTERM and its end, with the defaults in a cluster."""

from typing import NamedTuple

from tools.pictures.canvas import Area, Canvas, Kind

_BEGIN, _CLOSED, _CUT, _END = 190, 420, 690, 820  # where the moments lie; the time line is not to scale
_TOP, _ROW = 84, 58


class _Bar(NamedTuple):
    begin: float
    end: float
    text: str
    kind: Kind


class _Lane(NamedTuple):
    name: str
    bars: tuple[_Bar, ...]


_LANES = (
    _Lane("/readyz", (_Bar(_BEGIN, _END, "503: Services take the pod out", "bad"),)),
    _Lane(
        "new requests",
        (_Bar(_BEGIN, _CLOSED, "served, connection: close", "good"), _Bar(_CLOSED, _END, "connection refused", "bad")),
    ),
    _Lane(
        "running answers", (_Bar(_BEGIN, _CUT, "go on to their end", "good"), _Bar(_CUT, _END, "error event", "bad"))
    ),
    _Lane("admin port", (_Bar(_BEGIN, _END, "answers probes and scrapes to the end", "own"),)),
)
_MOMENTS = (
    (_BEGIN, "SIGTERM", "0 s"),
    (_CLOSED, "the port closes", "10 s: delay"),
    (_CUT, "the grace is over", "5 min later: grace"),
    (_END, "the end", "1 s later"),
)


def drawing() -> str:
    """The picture."""
    bottom = _TOP + _ROW * len(_LANES)
    canvas = Canvas(880, bottom + 52, "A drain: 10 seconds with new requests, then up to 5 minutes for running answers")
    for x, name, when in _MOMENTS:
        canvas.tick(x, 58, bottom)
        canvas.words(x, 28, name, "head", "middle")
        canvas.words(x, 48, when, "soft", "middle")
    for number, lane in enumerate(_LANES):
        y = _TOP + _ROW * number
        canvas.words(28, y + 26, lane.name)
        for bar in lane.bars:
            canvas.box(Area(bar.begin + 2, y, bar.end - bar.begin - 4, 42), (bar.text,), bar.kind)
    canvas.words(
        28,
        bottom + 30,
        "It ends as soon as nothing runs any more. The times are the defaults in a cluster; the line is not to scale.",
        "soft",
    )
    return canvas.svg()
