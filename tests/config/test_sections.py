"""Sections with nothing in them and words for "off": the checker, the schema and the chart's schema say the same."""

import json
from typing import Any

import jsonschema_rs
import pytest
import yaml
from tools.chart.files import CHART

from ai_gateway.config.loading import ConfigError, parse
from ai_gateway.config.schema import schema
from ai_gateway.config.types import Config

NEVER_EMPTY = ("auth", "callers", "limits")
ADDRESSES = ("listen", "admin")
NOT_IN_VALUES = ("discovery", "tls", "drain", *ADDRESSES)  # the chart writes them from values of its own

SECTIONS = list(Config.__struct_fields__)
VALUES: list[Any] = [None, {}, [], "none", "all", "off", False, True, 0, {"methods": None}, {"methods": ["none"]}]
NESTED = [
    "models: {a: }", "models: {a: {timeouts: }}", "models: {a: {aliases: }}", "models: {a: {version: }}",
    "catalog: {discover: }", "timeouts: {idle: }", "log: {levels: }", "log: {level: }", "limits: {default: }",
    "limits: {tenants: }", "limits: {default: , redis: }", "limits: {default: {}, tenants: }",
    "limits: {tenants: {a: }}", "limits: {models: }", "limits: {redis: }",
    "audit: {redact: }", "audit: {mode: }", "audit: {path: }", "audit: {checkpoints: }", "cors: {origins: }",
    "auth: {methods: }", "auth: {methods: [none], headers: }", "auth: {methods: [none], oidc: }",
    "auth: {methods: [none], audience: }", "auth: {methods: []}", "auth: {headers: [x-api-key]}",
]  # fmt: skip


def is_taken(content: dict[str, Any]) -> bool:
    try:
        parse(yaml.safe_dump(content).encode())
    except ConfigError:
        return False
    return True


@pytest.fixture(scope="module")
def schemas() -> tuple[Any, Any]:
    """Of config.yml, and of the chart's values."""
    values = json.loads((CHART / "values.schema.json").read_text())
    return jsonschema_rs.validator_for(schema()), jsonschema_rs.validator_for(values)


@pytest.mark.parametrize("section", SECTIONS)
def test_an_empty_section_counts_as_absent_unless_it_protects(section: str) -> None:
    """All of its keys may be commented out. If that could let everyone in, it needs a word."""
    if section in NEVER_EMPTY:
        with pytest.raises(ConfigError, match=f"^{section}: is empty: .*turn it off with `{section}: "):
            parse(f"{section}:".encode())
    else:
        assert parse(f"{section}:".encode()) == Config()


# Whether text is an address the schema does not say.
GIVEN = [(name, value) for name in SECTIONS for value in VALUES if name not in ADDRESSES or not isinstance(value, str)]


@pytest.mark.parametrize(("section", "value"), GIVEN, ids=str)
def test_checker_and_schemas_agree_on_a_section(section: str, value: object, schemas: tuple[Any, Any]) -> None:
    """An editor marks what the gateway refuses, and Helm stops before it is installed."""
    content = {section: value, **({"auth": {"methods": ["kubernetes"]}} if section == "callers" else {})}
    of_config, of_values = schemas
    assert of_config.is_valid(content) == is_taken(content)
    if section in NEVER_EMPTY and value is None:
        assert of_values.is_valid({"config": content})  # the chart writes its default, a word, into the file
    elif section not in NOT_IN_VALUES and not (section == "auth" and value == {}):
        assert of_values.is_valid({"config": content}) == is_taken(content)


@pytest.mark.parametrize("text", NESTED)
def test_checker_and_schema_agree_within_sections(text: str, schemas: tuple[Any, Any]) -> None:
    content = yaml.safe_load(text)
    assert schemas[0].is_valid(content) == is_taken(content)


def test_lists_and_sections_within_sections_may_be_empty_too() -> None:
    content = (
        b"models: {a: {timeouts: , aliases: }}\nlog: {levels: }\naudit: {redact: }\nlimits: {models: , default: {}}"
    )
    config = parse(content)
    assert (config.models["a"].aliases, config.log.levels, config.audit.redact) == ((), {}, ())


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("models: {a: {version: on}}", "models.a.version"),
        ("models: {a: {version: 2024-01-01}}", "models.a.version"),
        ("models: {a: {version: 2024-01-01 10:00:00}}", "models.a.version"),
        ("models: {a: {version: 12:30}}", "models.a.version"),
        ("models: {a: {version: 1.0}}", "models.a.version"),
        ("models: {a: {ollama: 7}}", "models.a.ollama"),
        ("models: {on: }", "models.True"),
        ("models: {2024-01-01: }", "models.2024-01-01"),
        ("models: {1.0: {}}", "models.1.0"),
        ("models: {a: {aliases: [on]}}", "models.a.aliases[0]"),
        ("limits: {tenants: {on: {rpm: 1}}}", "limits.tenants"),
        ("limits: {models: {1: {rpm: 1}}}", "limits.models"),
        ("callers: [{match: {tenant: 2024-01-01}}]", "callers[0].match.tenant"),
        ("callers: [{match: {key: 12}}]", "callers[0].match.key"),
        ("callers: [{match: {group: a}, models: [1.5]}]", "callers[0].models[0]"),
        ("auth: {methods: [keys], keys_file: 12}", "auth.keys_file"),
        ("discovery: {kubernetes: {namespaces: [12]}}", "discovery.kubernetes.namespaces[0]"),
        ("discovery: {static: [12]}", "discovery.static[0]"),
        ("trusted_proxies: [10]", "trusted_proxies[0]"),
        ("listen: 8080", "listen"),
    ],
)
def test_a_value_that_yaml_read_as_another_type_needs_quotes(text: str, path: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(text.encode())
    found = {reason.path: reason.message for reason in refused.value.reasons}
    assert found[path].endswith("(put it in quotes)")
