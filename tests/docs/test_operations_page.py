"""The paths of docs/openapi.yaml that ask a model are the program's operations."""

import json

import yaml
from tools.openapi import OPENAPI, generated_openapi

from ai_gateway.wire.operations import OPERATIONS


def test_the_operations_of_the_page_are_the_programs() -> None:
    assert OPENAPI.read_text() == generated_openapi(OPENAPI.read_text()), "run: make generate"


def test_the_page_tells_what_each_operation_takes_and_gives() -> None:
    """Its example, its kinds of answer, and schemas that stand on the page."""
    page = yaml.safe_load(OPENAPI.read_text())
    posts = {
        path: item["post"]
        for path, item in page["paths"].items()
        if "inference" in item.get("post", {}).get("tags", ())
    }
    assert set(posts) == {row.path for row in OPERATIONS.values()}
    for row in OPERATIONS.values():
        asked = posts[row.path]["requestBody"]["content"]["application/json"]
        given = posts[row.path]["responses"]["200"]["content"]
        assert asked["example"] == json.loads(row.example.request)
        assert set(given) == {"application/json"} | ({"text/event-stream"} if row.stream else set())
        schemas = [content["schema"]["$ref"].rpartition("/")[2] for content in (asked, *given.values())]
        assert set(schemas) <= set(page["components"]["schemas"])
