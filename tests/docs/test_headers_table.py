"""The tables of headers in docs/api-endpoints.md are the program's: none that an answer may carry is missing."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.docs.program import ROOT

from ai_gateway.edge import cors

SOURCE = ROOT / "src" / "ai_gateway"
PAGE = ROOT / "docs" / "api-endpoints.md"
# What these rooms write goes to Ollama, the API server or an issuer, or comes from a stand-in for Ollama.
ELSEWHERE = {"upstream", "cluster", "auth", "simulator", "telemetry", "cli"}


def _rows(head: str) -> list[str]:
    """The names in lower case, row by row, of the table that begins with this head."""
    table = PAGE.read_text().partition(f"| {head} | meaning |\n|---|---|\n")[2].partition("\n\n")[0]
    return [name.lower() for row in table.splitlines() for name in re.findall(r"`([\w-]+)[`:]", row.split(" | ")[0])]


def _begin(name: ast.expr) -> str | None:
    """How the name of a header begins, where an expression is one: b"x-name", b"x-" + unit, f"x-{name}".encode()."""
    match name:
        case ast.Constant(value=bytes(text)):
            return text.decode()
        case ast.BinOp(left=ast.Constant(value=bytes(text))):
            return text.decode()
        case ast.Call(func=ast.Attribute(value=ast.JoinedStr(values=[ast.Constant(value=str(text)), *_]))):
            return text
    return None


def _written(path: Path) -> Iterator[str]:
    """The beginnings of names in all pairs of bytes that stand in a list, or are added to one."""
    for node in ast.walk(ast.parse(path.read_text())):
        inner: list[ast.expr] = []
        match node:
            case ast.List(elts=elements) | ast.Tuple(elts=elements) | ast.Call(args=elements):
                inner = elements
            case ast.ListComp(elt=element):
                inner = [element]
        begins = (_begin(pair.elts[0]) for pair in inner if isinstance(pair, ast.Tuple) and len(pair.elts) == 2)
        yield from (begin for begin in begins if begin is not None)


def test_the_page_has_every_header_that_an_answer_may_carry() -> None:
    rooms = [path for path in SOURCE.rglob("*.py") if not ELSEWHERE & {*path.parts}]
    written = {begin for path in rooms for begin in _written(path)}
    assert {"x-request-id", "x-accel-buffering", "x-ratelimit-reset-", "x-audit-", "allow"} <= written
    listed = [*_rows("header of an answer"), *_rows("header of a request")]
    assert {begin for begin in written if not any(name.startswith(begin) for name in listed)} == set()


def test_pages_may_read_the_headers_that_the_page_says() -> None:
    listed = _rows("header of an answer")
    assert {*listed[: listed.index("x-audit-damaged") + 1]} == {*cors.EXPOSED}


def test_openapi_has_the_headers_that_pages_may_read() -> None:
    text = (ROOT / "docs" / "openapi.yaml").read_text()
    assert {name for name in cors.EXPOSED if not re.search(rf"^ +{name}: ", text, re.MULTILINE)} == set()
