"""The JSON Schema of config.yml, made from its types."""

import json
import re
from pathlib import Path

from ai_gateway.config.schema import as_text, schema
from ai_gateway.config.types import Config

REPOSITORY = Path(__file__).parents[2]


def test_the_schema_in_the_repository_is_the_one_of_the_types() -> None:
    """Generate it with `python -m ai_gateway.config.schema > config.schema.json`."""
    assert (REPOSITORY / "config.schema.json").read_text() == as_text()


def test_every_key_of_the_config_is_in_the_schema() -> None:
    """And nothing else may stand there."""
    definition = schema()["$defs"]["Config"]
    assert set(definition["properties"]) == set(Config.__struct_fields__)
    assert definition["additionalProperties"] is False


def test_defaults_with_units_stand_in_the_schema() -> None:
    """Editors show them."""
    definitions = schema()["$defs"]
    assert definitions["Timeouts"]["properties"]["idle"]["default"] == 300
    assert definitions["Body"]["properties"]["max_bytes"]["default"] == 20 << 20


def test_the_schemas_patterns_take_what_the_loader_takes() -> None:
    """A file that an editor marks must not load, and the other way round."""
    patterns = re.findall(r'"pattern": (".*?")', as_text())
    durations, sizes = (next(json.loads(p) for p in patterns if unit in p) for unit in ("|d)", "KiB"))
    assert all(re.search(durations, text) for text in ("500ms", "1.5m", "30d"))
    assert not any(re.search(durations, text) for text in ("1w", "1 s", "s"))
    assert all(re.search(sizes, text) for text in ("512", "64KiB", "1GB"))
    assert not any(re.search(sizes, text) for text in ("1kb", "1.5MiB"))
