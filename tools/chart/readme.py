"""The chart's README: what a person wrote, and the table of values, made from values.yaml."""

import json
from itertools import groupby
from typing import Any

from tools.chart.files import CHART, documented_values

README = CHART / "README.md"
BEGIN = "<!-- values: made by tools/chart from values.yaml -->"
END = "<!-- end of values -->"


def as_text() -> str:
    """README.md with the table made anew; the rest as it stands."""
    before, _, rest = README.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{_tables()}\n{END}{after}"


def _tables() -> str:
    parts = []
    for section, values in groupby(documented_values(), key=lambda value: value.section):
        rows = [f"| `{value.path}` | {_shown(value.default)} | {value.meaning} |" for value in values]
        parts.append("\n".join([f"### {section}\n", "| value | default | meaning |", "|---|---|---|", *rows]))
    return "\n" + "\n\n".join(parts) + "\n"


def _shown(default: Any) -> str:
    if default is None or default == "":
        return ""
    text = default if isinstance(default, str) else json.dumps(default)
    return f"`{text}`"
