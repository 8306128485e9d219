"""Reads the files in `parts/`: what each part of the cluster is told, with places like `${folder}` to fill in."""

from collections.abc import Mapping
from pathlib import Path
from string import Template

PARTS = Path(__file__).parent / "parts"

Values = Mapping[str, object]


def filled(name: str, values: Values) -> str:
    """The text of a file with its places filled in. A place without a value is a KeyError."""
    return Template((PARTS / name).read_text()).substitute(values)


def flags(name: str, values: Values) -> list[str]:
    """The flags in a file: one a line, comments and empty lines left out."""
    lines = (line.strip() for line in filled(name, values).splitlines())
    return [line for line in lines if line and not line.startswith("#")]
