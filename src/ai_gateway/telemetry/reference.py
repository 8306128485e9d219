"""The tables of all metrics in docs/observability.md: `python -m ai_gateway.telemetry.reference` prints them."""

from typing import Final

from ai_gateway.telemetry.meanings import GROUPS, METRICS, name_over_otlp
from ai_gateway.telemetry.names import BUCKETS

_HEAD: Final = "| name | kind | labels | meaning | over OTLP |\n|---|---|---|---|---|\n"


def as_text() -> str:
    """All metrics, a table for each group, and the buckets of the histograms."""
    tables = "\n".join(
        f"### {title}\n\n{_HEAD}{''.join(_row(name) for name in metrics)}" for title, metrics in GROUPS.items()
    )
    return tables + "\n### Buckets\n\n" + "".join(_bounds(name) for name in METRICS if name in BUCKETS)


def _row(name: str) -> str:
    metric = METRICS[name]
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    sent = f"`{name_over_otlp(name)}`" + (f" in {metric.unit}" if metric.unit else "")
    cells = (f"`{name}`", metric.kind, labels, metric.meaning, sent)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _bounds(name: str) -> str:
    return f"- `{name}`: {', '.join(f'{bound:.10g}' for bound in BUCKETS[name])}\n"


if __name__ == "__main__":
    print(as_text(), end="")
