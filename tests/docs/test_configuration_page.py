"""docs/configuration.md and config.schema.json say of config.yml what its types say."""

import re
from pathlib import Path

import pytest
import yaml
from tests.docs.pages import PAGES, Block, blocks
from tests.docs.program import ROOT
from tools.docs_tables import BEGIN_KEYS, CONFIG_PAGE, END_KEYS, generated_configuration

from ai_gateway.config import reference, schema
from ai_gateway.config.loading import parse
from ai_gateway.config.types import RESTART_KEYS, Config


def _rows() -> dict[str, list[str]]:
    """The page's rows by the whole path of their key: value, default, a change, meaning."""
    rows, section = {}, ""
    for line in CONFIG_PAGE.read_text().splitlines():
        if line.startswith("### "):
            section = "" if line.startswith("### The") else line.removeprefix("### ").strip("`") + "."
        elif found := re.match(r"\| `(\w+)` \| (.*) \|$", line):
            rows[section + found[1]] = re.split(r" \| ", found[2])
    return rows


# What else of YAML a page shows.
NO_CONFIG = ("apiVersion:", "# values", "# kustomization.yaml", "# Chart.yaml", "# container")


def _yaml_blocks() -> list[Block]:
    """Those that show a config.yml."""
    shown = [block for page in PAGES for block in blocks(page) if block.language == "yaml"]
    return [block for block in shown if not block.text.startswith(NO_CONFIG)]


def test_the_page_has_the_tables_that_the_types_make() -> None:
    page = CONFIG_PAGE.read_text()
    assert page.count(BEGIN_KEYS) == page.count(END_KEYS) == 1
    assert page == generated_configuration(page), "run: make generate"


def test_the_page_has_a_row_for_every_key_of_the_types() -> None:
    assert list(_rows()) == reference.keys()
    assert len(_rows()) == sum(len(section["properties"]) for section in schema.schema()["$defs"].values())


def test_every_key_says_what_it_means() -> None:
    assert [path for path, row in _rows().items() if not row[-1].strip(" .")] == []


def test_the_page_marks_the_keys_that_need_a_restart() -> None:
    marked = {path for path, row in _rows().items() if row[2] == "restart"}
    assert {path for path in _rows() if path.partition(".")[0] in RESTART_KEYS} == marked


@pytest.mark.parametrize(
    ("path", "default"),
    [
        ("timeouts.connect", "2s"),
        ("timeouts.stream", "30m"),
        ("body.max_bytes", "20MiB"),
        ("queue.max_waiting", "100"),
        ("balancing.retry_budget", "0.2"),
        ("catalog.discover", "false"),
        ("models.<id>.version", "latest"),
    ],
)
def test_a_default_stands_there_with_its_unit(path: str, default: str) -> None:
    assert _rows()[path][1] == f"`{default}`"


def test_the_defaults_of_the_page_are_a_config_that_changes_nothing() -> None:
    told: dict[str, dict[str, object]] = {}
    for path, row in _rows().items():
        section, _, key = path.rpartition(".")
        if section.isalpha() and section not in ("tls", "limits") and row[1].strip("` "):
            told.setdefault(section, {})[key] = yaml.safe_load(row[1].strip("`"))
    usual = {
        "audit",
        "auth",
        "reconcile",
        "catalog",
        "timeouts",
        "balancing",
        "queue",
        "polling",
        "body",
        "cors",
        "compatibility",
        "connections",
        "drain",
        "log",
    }
    assert set(told) == usual
    assert parse(yaml.safe_dump(told).encode()) == Config()


def test_the_schema_in_the_repository_is_the_one_that_the_types_make() -> None:
    schema_file = ROOT / "config.schema.json"
    assert schema_file.read_text() == schema.as_text(), "run: make generate"


def _names_a_file(line: str) -> bool:
    """One that is not here, and that the gateway looks for when it checks a config."""
    return re.search(r"(ca|password|token)_file:", line) is not None


@pytest.mark.parametrize("block", _yaml_blocks(), ids=lambda block: f"at-{block.begin}")
def test_a_config_that_a_page_shows_is_valid(block: Block, tmp_path: Path) -> None:
    shown = "\n".join(line for line in block.text.splitlines() if not _names_a_file(line))
    for name in ("dsn", "key"):
        (tmp_path / name).write_text("mounted from a Secret, 32 bytes or more")
    for folder in ("/etc/ai-gateway-audit", "/etc/ai-gateway-postgresql"):
        shown = shown.replace(folder, str(tmp_path))
    assert parse(shown.encode()) != Config()
