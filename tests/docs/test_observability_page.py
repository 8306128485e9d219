"""docs/observability.md and the names in the program are the same: none is missing, none is made up."""

import re
from typing import get_args

from tools.docs_tables import PAGE, generated
from tools.openapi import OPENAPI

from ai_gateway.balancing.choice import Reason
from ai_gateway.telemetry import names, settings
from ai_gateway.telemetry.meanings import METRICS, name_over_otlp

_NAME = re.compile(r"`((?:aigw|gen_ai|http|url|server|client|network|user_agent|error)\.[a-z_.]+|ai_gateway_[a-z_]+)")


def said() -> set[str]:
    """Names of attributes, events and own metrics on the page."""
    return {name.rstrip("_") for name in _NAME.findall(PAGE.read_text())}


def known() -> set[str]:
    """Those of the program; convention metrics stand in the generated table alone."""
    found = {value for key, value in vars(names).items() if key.isupper() and isinstance(value, str)}
    found -= {names.SCHEMA_URL, names.SCOPE, names.PROVIDER, names.TOKEN_TYPE}
    return {name for name in found if not name.startswith(("gen_ai_", "http_server_"))}


def test_each_name_of_the_program_stands_on_the_page() -> None:
    assert known() - said() == set()


def test_each_name_on_the_page_is_one_of_the_programs() -> None:
    """Metrics of config and discovery are named where they are read; the generated table holds them."""
    metrics = {*METRICS, *map(name_over_otlp, METRICS)}
    assert said() - known() - metrics == set()


def test_the_table_of_metrics_is_the_programs() -> None:
    assert PAGE.read_text() == generated(PAGE.read_text()), "run: make generate"


def test_every_word_a_variable_takes_stands_on_the_page() -> None:
    text = PAGE.read_text()
    words = {*settings.EXPORTERS, *settings.PROTOCOLS, *settings.PROPAGATORS, *settings.EXEMPLAR_FILTERS}
    assert {word for word in words if word not in text} == set()


def test_every_reason_for_a_choice_has_a_row_and_stands_in_the_schema() -> None:
    """And no other word does."""
    section = PAGE.read_text().split("### Why this endpoint\n")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(get_args(Reason))
    assert f"schema: {{enum: [{', '.join(get_args(Reason))}]}}" in OPENAPI.read_text()
