"""docs/installation.md names every value outside `config` that goes into the file: a change of it undoes an edit."""

import re
from copy import deepcopy
from typing import Any

import pytest
import yaml
from tests.helm.running import HelmRefuses, kind, rendered
from tools.chart.files import CI_FILES, ROOT

pytestmark = pytest.mark.cluster

Values = dict[str, Any]
Path = tuple[str, ...]
REDIS: Values = {"limits": {"redis": {"url": "rediss://a"}}}
SECRET: Values = {"existingSecret": "ours"}
FURTHER: list[Values] = [  # what no ci file has, or has only where it cannot be left out
    {"discovery": {"portName": "ollama", "port": 11435}},
    {"discovery": {"mode": "dns"}, "headlessService": {"enabled": True}, "nameOverride": "llm"},
    {"discovery": {"mode": "dns", "serviceName": "ours"}},
    {"discovery": {"mode": "dns"}, "namespaceOverride": "llm"},
    {"discovery": {"mode": "dns"}, "headlessService": {"enabled": True}, "fullnameOverride": "llm"},
    {"discovery": {"mode": "static", "static": ["http://a"]}},
    {"ollama": {"enabled": True}},
    {"placement": "ollama-sidecar"},
    {"config": REDIS, "limits": {"redis": {**SECRET, "passwordKey": "pass", "caKey": "ca.crt"}}},
    {"config": {"auth": {"methods": ["keys"]}}, "auth": {"keysSecret": {"name": "ours"}}},
    {"tls": {"enabled": True, **SECRET, "clientCAKey": "ca.crt"}},
    {"audit": {"postgresql": SECRET, "key": SECRET}},
]


def _hash(values: Values) -> str | None:
    """What the file means, as the chart remembers it; None where these values make none."""
    try:
        objects = rendered("helm4", values=values)
    except HelmRefuses:
        return None
    maps = [one for one in kind(objects, "ConfigMap") if one["metadata"]["name"].endswith("-models")]
    return str(maps[0]["metadata"]["annotations"]["ai-gateway-ollama/values-hash"]) if maps else None


def _leaves(values: Values, path: Path = ()) -> list[Path]:
    found: list[Path] = []
    for name, value in values.items():
        found += _leaves(value, (*path, name)) if isinstance(value, dict) and value else [(*path, name)]
    return found


def _without(values: Values, path: Path) -> Values:
    left = deepcopy(values)
    room = left
    for name in path[:-1]:
        room = room[name]
    del room[path[-1]]
    return left


def _writers(values: Values) -> set[str]:
    """Paths outside `config` without which the file is another one, or none can be made."""
    whole = _hash(values)
    if whole is None or whole == _hash({"config": values.get("config", {})}):
        return set()
    paths = [path for path in _leaves(values) if path[0] != "config"]
    return {".".join(path) for path in paths if _hash(_without(values, path)) != whole}


def _named() -> set[str]:
    page = (ROOT / "docs" / "installation.md").read_text()
    table = page.partition("| value | what it writes |")[2].partition("\n\n")[0]
    return {name for row in table.splitlines()[2:] for name in re.findall(r"`([\w.]+)`", row.split("|")[1])}


NEEDED_BY_THEM = {
    "httpRoute.parentRefs",
    "tls.existingSecret",
    "tls.certManager.enabled",
    "tls.certManager.issuerRef.name",
}


def test_the_table_names_each_value_that_goes_into_the_file_and_no_other() -> None:
    worlds = [yaml.safe_load(file.read_text()) or {} for file in CI_FILES] + FURTHER
    assert set().union(*map(_writers, worlds)) - NEEDED_BY_THEM == _named()
