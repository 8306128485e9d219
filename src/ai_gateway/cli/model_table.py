"""The table of `ai-gateway models`: asks a gateway for as little as it needs, and fits what it says into a terminal."""

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from ai_gateway.cli.asking import Asking, Unanswered
from ai_gateway.wire.printable import printable

MOST_ASKED: Final = 30  # models in one look of a live table, one question each; the others have their turn later
_MOVING: Final = ("pulling", "updating", "failed")
_HEAD: Final = ("MODEL", "STATE", "PULLED", "ENDPOINTS", "NAME", "")
_WIDEST: Final = (40, 11, 40, 9, 60)  # where there is no terminal whose lines could be cut
_SMALL: Final = 70  # columns, from which on there is a short bar
_WIDE: Final = 100


class Row(NamedTuple):
    """One model, as the gateway tells it; `endpoints` is a number, or `2/3` while a rollout goes on."""

    id: str
    state: str
    progress: float | None
    endpoints: str
    name: str
    reason: str


class Table:
    """What was asked so far. The list of models brings state and progress; all else is asked for each model."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self._details: dict[str, dict[str, Any]] = {}
        self._asked: dict[str, int] = {}
        self._round = 0

    def read(self, most: int | None = None) -> list[Row]:
        """Looks again, at so many models beside the list: at those that move first. Raises as Asking.get does."""
        self._round += 1
        listed = _listed(self._asking.get("/v1/models"))
        turn = sorted(listed, key=lambda one: (listed[one].get("state") not in _MOVING, self._asked.get(one, 0)))
        for model_id in turn[:most]:
            self._ask(model_id)
        return [_row(model_id, one, self._details.get(model_id, {})) for model_id, one in listed.items()]

    def _ask(self, model_id: str) -> None:
        self._asked[model_id] = self._round
        try:
            self._details[model_id] = self._asking.get(f"/v1/models/{model_id}")
        except Unanswered as failure:
            if failure.status != 404:  # it may have gone since it was listed
                raise


def _listed(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    data = answer.get("data")
    if not isinstance(data, list) or not all(isinstance(one, dict) and isinstance(one.get("id"), str) for one in data):
        raise Unanswered("what answers there is no gateway of this kind: its list of models cannot be read")
    return {one["id"]: one for one in data}


def _row(model_id: str, listed: dict[str, Any], shown: dict[str, Any]) -> Row:
    done, total, endpoints = shown.get("done"), shown.get("total"), shown.get("endpoints")
    progress = listed.get("progress")
    places = f"{done}/{total}" if total else str(len(endpoints)) if isinstance(endpoints, list) else ""
    return Row(
        id=model_id,
        state=str(listed.get("state") or shown.get("state") or ""),
        progress=float(progress) if isinstance(progress, int | float) and 0 <= progress <= 1 else None,
        endpoints=places,
        name=str(shown.get("ollama") or ""),
        reason=str(shown.get("reason") or ""),
    )


def lines(rows: Sequence[Row], columns: int | None = None, height: int | None = None) -> Iterator[str]:
    """The table, cut to a terminal of this size if one is given: with many models those that move are shown."""
    if not rows:
        yield "no models: the config names none, or none that this key may use"
        return
    shown = rows
    if height is not None and len(rows) + 1 > height:
        shown = sorted(rows, key=lambda row: row.state not in _MOVING)[: max(1, height - 2)]
    bar = 20 if columns is None or columns >= _WIDE else 10 if columns >= _SMALL else 0
    cells = [_HEAD, *(_cells(row, bar) for row in shown)]
    widths = [min(most, max(_width(line[place]) for line in cells)) for place, most in enumerate(_WIDEST)]
    for line in cells:
        padded = (text + " " * (width - _width(text)) for text, width in zip(line, widths, strict=False))
        yield _cut("  ".join([*padded, line[5]]).rstrip(), columns)
    if len(shown) < len(rows):
        yield _cut(f"and {len(rows) - len(shown)} more; `ai-gateway models --once` shows all", columns)


def _cells(row: Row, bar: int) -> tuple[str, ...]:
    pulled = "" if row.progress is None else f"{row.progress:4.0%}"
    if bar and row.progress is not None:
        filled = int(bar * row.progress)
        pulled = f"[{'#' * filled}{'.' * (bar - filled)}] {pulled}"
    texts = (row.id, row.state, pulled, row.endpoints, row.name, row.reason)
    return tuple(printable(text) for text in texts)


def _width(text: str) -> int:
    """In columns of a terminal."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _cut(text: str, columns: int | None) -> str:
    if columns is None or _width(text) <= columns:
        return text
    while _width(text) > columns:
        text = text[:columns] if len(text) > columns else text[:-1]
    return text
