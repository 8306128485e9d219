"""The way of a request, from its first byte to its record, and how each step can end it."""

from typing import NamedTuple

from tools.pictures.canvas import Area, Canvas

_TOP, _ROW, _HEIGHT = 52, 74, 56


class _Step(NamedTuple):
    name: str
    what: str
    ends: str  # the statuses of the errors that it can end with


_STEPS = (
    _Step("Door", "reads the head; refuses what two parsers could read differently", "400, 414, 431"),
    _Step("Wrappers", "open the record; turn every error into a reply; host, origin", "400, 403"),
    _Step("Who calls", "API key, ServiceAccount token or OpenID Connect, as you set it", "401, 403, 503"),
    _Step("The call", "reads and checks the body; finds the model", "400, 404, 408, 413, 415"),
    _Step("Limits", "calls and tokens of caller, tenant and model", "429"),
    _Step("Waiting", "for a slot on an endpoint that holds the model", "503"),
    _Step("The attempt", "sends the call to that endpoint; waits for the first byte", "400, 502, 503, 504"),
    _Step("The answer", "passes every chunk on; gives the slot back after the last byte", "an error event"),
    _Step("The record", "one trace, one line in the log, metrics, one entry of the audit", ""),
)


def drawing() -> str:
    """The picture."""
    canvas = Canvas(
        880, _TOP + _ROW * len(_STEPS) + 6, "The steps of a request, and the errors with which each can end"
    )
    canvas.words(36, 34, "step", "soft")
    canvas.words(640, 34, "errors, such as", "soft")
    for number, step in enumerate(_STEPS):
        area = Area(36, _TOP + _ROW * number, 510, _HEIGHT)
        canvas.box(
            area, (step.name, step.what), "good" if step.name == "The answer" else "own" if step.ends else "plain"
        )
        if number:
            canvas.arrow((area.middle[0], area.y - _ROW + _HEIGHT), (area.middle[0], area.y - 2))
        if step.ends:
            canvas.arrow((area.right, area.middle[1]), (630, area.middle[1]))
            canvas.words(640, area.middle[1] + 5, step.ends)
    _again(canvas)
    return canvas.svg()


def _again(canvas: Canvas) -> None:
    """From the attempt back to waiting."""
    waiting, attempt = (_TOP + _ROW * number + _HEIGHT / 2 for number in (5, 6))
    canvas.arrow((546, attempt - 14), (580, attempt - 14), (580, waiting + 14), (549, waiting + 14))
    canvas.words(590, (waiting + attempt) / 2 + 5, "no first byte: one other endpoint", "soft")
