"""Writes the drawn pictures of the docs: `python -m tools.pictures`. The one of a trace is measured: see `trace.py`."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from tools.pictures import drain, request, standing, states

IMAGES: Final = Path(__file__).parents[2] / "docs" / "images"
PICTURES: Final[dict[str, Callable[[], str]]] = {
    "standing.svg": standing.drawing,
    "request.svg": request.drawing,
    "states.svg": states.drawing,
    "drain.svg": drain.drawing,
}


def main() -> None:
    """Writes them all."""
    for name, drawing in PICTURES.items():
        (IMAGES / name).write_text(drawing())


if __name__ == "__main__":
    main()
