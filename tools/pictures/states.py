"""The states of an endpoint, as `GET /v1/health` names them, and what leads from one to another."""

from tools.pictures.canvas import Area, Canvas

_UNKNOWN = Area(40, 60, 170, 66)
_UP = Area(355, 60, 170, 66)
_EJECTED = Area(670, 60, 170, 66)
_DOWN = Area(355, 250, 170, 66)
_DRAINING = Area(40, 390, 250, 66)
_GONE = Area(590, 390, 250, 66)


def drawing() -> str:
    """The picture."""
    canvas = Canvas(880, 480, "The states of an endpoint: unknown, up, ejected, down, draining, and gone")
    canvas.box(_UNKNOWN, ("unknown", "takes calls"), "good")
    canvas.box(_UP, ("up", "takes calls"), "good")
    canvas.box(_EJECTED, ("ejected", "left alone, 5 to 60 s"), "bad")
    canvas.box(_DOWN, ("down", "probed every 2 s"), "bad")
    canvas.box(_DRAINING, ("draining", "keeps its calls, gets none"), "plain")
    canvas.box(_GONE, ("gone",), "plain")
    canvas.words(125, 30, "discovery names it", "soft", "middle")
    canvas.arrow((125, 36), (125, 57))
    _healthy(canvas)
    _down(canvas)
    _leaving(canvas)
    return canvas.svg()


def _healthy(canvas: Canvas) -> None:
    canvas.arrow((_UNKNOWN.right, 93), (_UP.x - 3, 93))
    canvas.words(282, 66, "a probe", "soft", "middle")
    canvas.words(282, 84, "is answered", "soft", "middle")
    canvas.arrow((_UP.right, 78), (_EJECTED.x - 3, 78))
    canvas.words(597, 68, "5 failures in a row", "soft", "middle")
    canvas.arrow((_EJECTED.x, 108), (_UP.right + 3, 108))
    canvas.words(597, 128, "its time is over,", "soft", "middle")
    canvas.words(597, 146, "a probe is answered", "soft", "middle")


def _down(canvas: Canvas) -> None:
    canvas.arrow((_UNKNOWN.middle[0], _UNKNOWN.bottom), (_UNKNOWN.middle[0], 283), (_DOWN.x - 3, 283))
    canvas.words(137, 272, "a probe fails", "soft")
    canvas.arrow((415, _UP.bottom), (415, _DOWN.y - 3))
    canvas.words(405, 186, "a probe is refused,", "soft", "end")
    canvas.words(405, 204, "or two get no answer", "soft", "end")
    canvas.arrow((465, _DOWN.y), (465, _UP.bottom + 3))
    canvas.words(475, 204, "a probe is answered", "soft")
    canvas.arrow((_EJECTED.middle[0], _EJECTED.bottom), (_EJECTED.middle[0], 283), (_DOWN.right + 3, 283))
    canvas.words(743, 272, "a probe fails", "soft", "end")


def _leaving(canvas: Canvas) -> None:
    canvas.group(Area(16, 340, 848, 128), "from every state: discovery names it no more, or its pod is being deleted")
    canvas.arrow((_DRAINING.right, _DRAINING.middle[1]), (_GONE.x - 3, _DRAINING.middle[1]))
    canvas.words(440, _DRAINING.middle[1] - 9, "its last call has ended", "soft", "middle")
