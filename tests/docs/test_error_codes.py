"""The table of codes in docs/api-endpoints.md is the program's: none is missing, none is invented."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import yaml
from tests.docs.program import ROOT

from ai_gateway.errors import error_type

SOURCE = ROOT / "src" / "ai_gateway"
PAGE = ROOT / "docs" / "api-endpoints.md"
# Defaults of classes that are only ever raised with a finer code.
NEVER_SENT = {"invalid_request", "backend_unavailable", "upstream_timeout"}
# Functions whose last argument, or whose return value, is a code.
CODE_LAST = {"_refuse", "refuse", "_row"}
CODE_RETURNED: set[str] = set()


def _listed() -> dict[str, str]:
    """Codes and their statuses, as the page's table has them."""
    table = PAGE.read_text().partition("### Codes\n")[2].partition("\n### ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| ([45]\w\w) \|", table, re.MULTILINE))


def _codes(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.keyword(arg="code", value=ast.Constant(value=str(code))):
                yield code
            case ast.AnnAssign(target=ast.Name(id="code"), value=ast.Constant(value=str(code))):
                yield code
            case ast.Assign(targets=[ast.Name(id="code")], value=ast.Constant(value=str(code))):
                yield code
            case ast.Call(func=ast.Name(id=name), args=[_, _, ast.Constant(value=str(code))]) if name in CODE_LAST:
                yield code
            case ast.FunctionDef(name=name, args=arguments) if name in CODE_LAST:
                yield from (
                    one.value
                    for one in arguments.defaults
                    if isinstance(one, ast.Constant) and isinstance(one.value, str)
                )
            case ast.FunctionDef(name=name) if name in CODE_RETURNED:
                yield from _returned(node)


def _returned(function: ast.FunctionDef) -> Iterator[str]:
    for node in ast.walk(function):
        match node:
            case ast.Return(value=ast.Constant(value=str(code))):
                yield code


def _sent() -> set[str]:
    files = (path for path in SOURCE.rglob("*.py") if "simulator" not in path.parts)
    return {code for path in files for code in _codes(path)} - NEVER_SENT


def test_the_page_lists_every_code_that_the_program_can_send() -> None:
    assert _sent() - _listed().keys() == set()


def test_the_page_lists_no_code_that_the_program_does_not_know() -> None:
    assert _listed().keys() - _sent() == set()


def test_the_codes_of_openapi_are_those_of_the_page() -> None:
    openapi = yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text())
    listed = openapi["components"]["schemas"]["Error"]["properties"]["error"]["properties"]["code"]["enum"]
    assert listed == sorted(_listed())


def test_a_type_stands_beside_the_statuses_that_have_it() -> None:
    table = PAGE.read_text().partition("| `type` |")[2].partition("\n\n")[0]
    for name, statuses in re.findall(r"^\| `(\w+)` \| (\d[\d, ]+) \|", table, re.MULTILINE):
        assert {error_type(int(status)) for status in statuses.split(",")} == {name}
