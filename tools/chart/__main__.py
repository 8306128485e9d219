"""Writes what is made from the chart's sources and checked by tests: `python -m tools.chart`.

The values' schema and table, what empty values become, and with `--manifests HELM`, where HELM is the path of Helm 4,
also k8s/.
"""

import argparse
from pathlib import Path

from tools.chart import empty_values, manifests, readme, values_schema
from tools.chart.files import CHART


def main() -> int:
    """Exit status 0."""
    parser = argparse.ArgumentParser(prog="python -m tools.chart", description=__doc__)
    parser.add_argument("--manifests", type=Path, metavar="HELM", help="write k8s/ too, with this Helm 4")
    helm: Path | None = parser.parse_args().manifests
    (CHART / "values.schema.json").write_text(values_schema.as_text())
    empty_values.FILE.write_text(empty_values.as_text())
    readme.README.write_text(readme.as_text())
    if helm:
        manifests.FILE.write_text(manifests.as_text(helm))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
