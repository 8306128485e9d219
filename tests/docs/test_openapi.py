"""docs/openapi.yaml describes what the program answers: schemathesis makes requests from it, good and bad ones."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.docs.program import ROOT, serve, simulate, write_config

from ai_gateway.wire.operations import BY_PATH

PAGE = ROOT / "docs" / "openapi.yaml"
MODELS: dict[str, dict[str, object]] = {
    "llama3": {"max_tokens": 4},
    "coder": {"ollama": "codellama", "version": "13b", "max_tokens": 4},
    "embed": {"ollama": "nomic-embed-text"},
}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# More of them by hand: OPENAPI_EXAMPLES=1000 pytest tests/docs/test_openapi.py
EXAMPLES = int(os.environ.get("OPENAPI_EXAMPLES", "20"))

schema = schemathesis.openapi.from_path(PAGE)


@schema.hook
def map_body(context: Any, body: Any) -> Any:
    """Most bodies ask for a model that is served, and half of them for a stream: else there are few 200s to see."""
    if not isinstance(body, dict) or not isinstance(model := body.get("model"), str) or len(model) == 3:
        return body
    operation = BY_PATH.get(context.operation.path)
    if operation is not None and not operation.writes_tokens:
        return {**body, "model": "embed"}
    return {**body, "model": "llama3", **({"stream": True} if len(body) % 2 else {})}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The gateway over an Ollama that answers at once: its base URL by the port of `servers` in the page."""
    config = write_config(tmp_path_factory.mktemp("openapi"), MODELS, audit={"allow_unauthenticated_reads": True})
    names = "llama3:latest,codellama:13b,nomic-embed-text:latest"
    with (
        simulate("--models", names, "--tokens-per-second", "0", "--load-seconds", "0") as (endpoints, _),
        serve("--config", str(config), ollama=endpoints[0]) as (api, admin),
    ):
        yield {"8080": f"http://{api}", "9090": f"http://{admin}"}


@schema.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES == 20, suppress_health_check=list(HealthCheck))
def test_answers_are_those_of_the_page(case: schemathesis.Case[Any], bases: dict[str, str]) -> None:
    base = bases["9090" if case.operation.path in ("/livez", "/readyz", "/metrics") else "8080"]
    case.call_and_validate(base_url=base, checks=CHECKS)
