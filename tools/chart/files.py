"""The chart's files, as tests and generators read them."""

import re
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "ai-gateway-ollama"
CI_FILES = sorted((CHART / "ci").glob("*-values.yaml"))


class Value(NamedTuple):
    """A value with its comment; `path` has dots, `section` is the heading it stands under."""

    section: str
    path: str
    default: Any
    meaning: str


def defaults() -> dict[str, Any]:
    """values.yaml; the caller may change it."""
    return deepcopy(_values((CHART / "values.yaml").read_text()))


@cache
def _values(text: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def metadata() -> dict[str, Any]:
    """Chart.yaml."""
    loaded: dict[str, Any] = yaml.safe_load((CHART / "Chart.yaml").read_text())
    return loaded


def documented_values() -> Iterator[Value]:
    """Every value that has a comment with two dashes, in order. Lines of comment after it belong to it."""
    section, meaning, values = "", "", defaults()
    parents: list[str] = []
    for line in (CHART / "values.yaml").read_text().splitlines():
        if found := re.match(r"# @section (.+)", line):
            section = found[1]
        elif found := re.match(r" *# -- (.+)", line):
            meaning = found[1]
        elif meaning and (found := re.match(r" *# (.+)", line)):
            meaning += f" {found[1]}"
        elif found := re.match(r"( *)(\w+):", line):
            parents = [*parents[: len(found[1]) // 2], found[2]]
            if meaning:
                yield Value(section, ".".join(parents), at(values, ".".join(parents)), meaning)
            meaning = ""


def at(values: Any, path: str) -> Any:
    """What stands there; KeyError if nothing does."""
    for name in path.split("."):
        values = values[name]
    return values
