"""Writes what is made from the chart's sources and checked by tests: `python -m tests.helm.generate`.

The values' schema and table, what empty values become, and with `--manifests` also k8s/, which needs Helm.
"""

import sys

from tests.helm import empty_values, readme, values_schema
from tests.helm.chart import CHART


def main(arguments: list[str]) -> int:
    """Exit status 0."""
    (CHART / "values.schema.json").write_text(values_schema.as_text())
    empty_values.FILE.write_text(empty_values.as_text())
    readme.README.write_text(readme.as_text())
    if "--manifests" in arguments:
        from tests.helm.manifests import write

        write()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
