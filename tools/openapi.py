"""The parts of docs/openapi.yaml that come from the table of operations: their paths, and generated schemas."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from ai_gateway.wire.operations import OPERATIONS, Operation

OPENAPI: Final = Path(__file__).parents[1] / "docs" / "openapi.yaml"

_PATHS: Final = ("  # operations: made by `make generate`\n", "  # end of operations\n")
_SCHEMAS: Final = ("    # operations' schemas: made by `make generate`\n", "    # end of operations' schemas\n")
_PARAMETERS: Final = ("RequestId", "ReadTimeout", "RequestTimeout", "Priority")
_HEADERS: Final = {
    "x-request-id": "RequestId",
    "x-trace-id": "TraceId",
    "x-ai-gateway-demo": "Demo",
    "x-ai-gateway-ignored": "Ignored",
    "x-ai-gateway-reason": "Reason",
    "x-ai-gateway-endpoint": "Endpoint",
    "x-ratelimit-limit-requests": "LimitCount",
    "x-ratelimit-remaining-requests": "LimitCount",
    "x-ratelimit-reset-requests": "LimitReset",
    "x-ratelimit-limit-tokens": "LimitCount",
    "x-ratelimit-remaining-tokens": "LimitCount",
    "x-ratelimit-reset-tokens": "LimitReset",
    "ratelimit-policy": "LimitedBy",
    "ratelimit": "LimitedBy",
}
# By status: the anchor, by which the other paths know it, and its name under components.
_ERRORS: Final = {
    400: ("bad_request", "BadRequest"), 401: ("unknown_caller", "UnknownCaller"), 403: ("not_allowed", "NotAllowed"),
    404: ("not_found", "NotFound"), 408: ("too_slow", "TooSlow"), 413: ("too_large", "TooLarge"),
    414: ("line_too_long", "LineTooLong"), 415: ("media_type", "MediaType"), 417: ("expectation", "Expectation"),
    429: ("limited", "Limited"), 431: ("head_too_large", "HeadTooLarge"), 500: ("internal_error", "InternalError"),
    502: ("upstream_failed", "UpstreamFailed"), 503: ("unavailable", "Unavailable"), 504: ("timed_out", "TimedOut"),
}  # fmt: skip


def generated_openapi(page: str) -> str:
    """The page with the operations as the program has them."""
    rows = list(OPERATIONS.values())
    paths = "\n".join("".join(f"{line}\n" for line in _path(row, row is rows[0])) for row in rows) + "\n"
    page = _between(page, _PATHS, paths)
    written = set(re.findall(r"^    (\w+):$", _between(page, _SCHEMAS, ""), re.MULTILINE))
    schemas = (schema for row in rows for schema in _schemas(row) if schema[0] not in written)
    return _between(page, _SCHEMAS, "".join(f"    {name}: {_flow(schema)}\n" for name, schema in schemas))


def _path(row: Operation, is_first: bool) -> Iterator[str]:
    """The item of one path; the first one has the anchors, which the others use."""
    page = row.page
    yield from (f"  {row.path}:", "    post:", "      tags: [inference]", f"      operationId: {page.operation_id}")
    yield from (f"      summary: {json.dumps(page.summary)}", "      parameters:")
    yield from (f'        - $ref: "#/components/parameters/{name}"' for name in _PARAMETERS)
    yield from ("      requestBody:", "        required: true", "        content:", "          application/json:")
    yield f"            schema: {_schema(page.request)}"
    yield f"            example: {_flow(json.loads(row.example.request))}"
    yield from ("      responses:", '        "200":', f"          description: {json.dumps(page.returns)}")
    yield f"          headers: {'&' if is_first else '*'}answered"
    if is_first:
        yield from (
            f'            {name}: {{$ref: "#/components/headers/{component}"}}' for name, component in _HEADERS.items()
        )
    yield from ("          content:", "            application/json:", f"              schema: {_schema(page.answer)}")
    if page.event is not None:
        yield from ("            text/event-stream:", f"              schema: {_schema(page.event)}")
    for status, (anchor, component) in _ERRORS.items():
        error = f'&{anchor} {{$ref: "#/components/responses/{component}"}}' if is_first else f"*{anchor}"
        yield f'        "{status}": {error}'


def _schemas(row: Operation) -> Iterator[tuple[str, dict[str, Any]]]:
    """A schema for the request and one for the answer, as far as the row tells them."""
    asked = [row.model_field, *row.prompt_fields]
    types = {name: _type(value) for name, value in json.loads(row.example.request).items()}
    known = {one.name: {**types.get(one.name, {}), "description": one.what} for one in row.parameters}
    yield row.page.request, {"type": "object", "required": asked, "properties": known}
    answer = json.loads(row.example.answer)
    fields = {name: _type(value) for name, value in answer.items()}
    yield row.page.answer, {"type": "object", "required": list(answer), "properties": fields}


def _type(value: Any) -> dict[str, Any]:
    names = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}
    return {"type": names[type(value)]}


def _schema(name: str) -> str:
    return f'{{$ref: "#/components/schemas/{name}"}}'


def _flow(value: Any) -> str:
    """JSON, which is YAML."""
    return json.dumps(value, ensure_ascii=False)


def _between(page: str, marks: tuple[str, str], text: str) -> str:
    begin, end = marks
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}{text}{end}{after}"
