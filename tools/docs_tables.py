"""Writes the generated parts of docs anew: `python -m tools.docs_tables`."""

from pathlib import Path
from typing import Final

from tools.openapi import OPENAPI, generated_openapi

from ai_gateway.config import reference as config_reference
from ai_gateway.telemetry.reference import as_text
from ai_gateway.wire.operations import KNOWN_PARAMETERS

DOCS: Final = Path(__file__).parents[1] / "docs"
PAGE: Final = DOCS / "observability.md"
API_PAGE: Final = DOCS / "api-endpoints.md"
CONFIG_PAGE: Final = DOCS / "configuration.md"
BEGIN: Final = "<!-- metrics: made by `make generate` -->\n"
END: Final = "<!-- end of metrics -->\n"
BEGIN_PARAMETERS: Final = "<!-- parameters: made by `make generate` -->\n"
END_PARAMETERS: Final = "<!-- end of parameters -->\n"
BEGIN_KEYS: Final = "<!-- keys: made by `make generate` -->\n"
END_KEYS: Final = "<!-- end of keys -->\n"


def generated(page: str) -> str:
    """The page with the table of metrics as the program has it."""
    return _between(page, BEGIN, as_text(), END)


def generated_api(page: str) -> str:
    """The page with the table of parameters as the program has it."""
    rows = [f"| `{row.name}` | {row.group} | {row.treatment} | {row.what} |" for row in KNOWN_PARAMETERS]
    table = "\n".join(
        ["| parameter | for | treatment | values, and what happens to them |", "|---|---|---|---|", *rows]
    )
    return _between(page, BEGIN_PARAMETERS, table + "\n", END_PARAMETERS)  # the site needs a blank line after a table


def generated_configuration(page: str) -> str:
    """The page with the tables of keys as the types of config.yml have them."""
    return _between(page, BEGIN_KEYS, config_reference.as_text(), END_KEYS)


def _between(page: str, begin: str, text: str, end: str) -> str:
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{text}\n{end}{after}"


if __name__ == "__main__":
    PAGE.write_text(generated(PAGE.read_text()))
    API_PAGE.write_text(generated_api(API_PAGE.read_text()))
    CONFIG_PAGE.write_text(generated_configuration(CONFIG_PAGE.read_text()))
    OPENAPI.write_text(generated_openapi(OPENAPI.read_text()))
