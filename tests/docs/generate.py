"""Writes the generated part of docs/observability.md anew: `python -m tests.docs.generate`."""

from pathlib import Path
from typing import Final

from ai_gateway.telemetry.reference import as_text

PAGE: Final = Path(__file__).parents[2] / "docs/observability.md"
BEGIN: Final = "<!-- metrics: made by `make generate` -->\n"
END: Final = "<!-- end of metrics -->\n"


def generated(page: str) -> str:
    """The page with the table of metrics as the program has it."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{as_text()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(generated(PAGE.read_text()))
