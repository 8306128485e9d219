"""Every curl line of README and docs is run for real, and the answers look as they are shown."""

import json
import urllib.request
from collections.abc import Iterator

import pytest
from tests.docs.curl import Answer, parse, send
from tests.docs.pages import PAGES, Block, Example, examples
from tests.docs.shape import differences, event_differences

EXAMPLES = [example for page in PAGES for example in examples(page)]
PATHS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/models",
    "/v1/models/coder",
    "/v1/health",
    "/",
    "/livez",
    "/readyz",
)


@pytest.fixture(autouse=True)
def _mended(places: dict[str, str]) -> Iterator[None]:
    """What one example breaks is mended before the next."""
    yield
    for number in range(3):
        for path, method in (("restart", "POST"), ("faults", "DELETE")):
            url = f"http://{places['127.0.0.1:11499']}/endpoints/{number}/{path}"
            with urllib.request.urlopen(urllib.request.Request(url, method=method)) as answer:
                assert answer.status == 200


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_a_curl_line_works_as_printed(example: Example, places: dict[str, str]) -> None:
    answer = send(parse(example.command), places)
    assert answer.status in _promised_statuses(example.shown), answer.text
    assert _differences(example.shown, answer) == []


@pytest.mark.parametrize("page", ["README.md", "docs/api-endpoints.md"])
def test_a_page_has_a_curl_line_for_each_endpoint(page: str) -> None:
    asked = {parse(example.command).target for example in EXAMPLES if example.page == page}
    assert set(PATHS) <= asked
    assert page == "README.md" or "/v1/audit/logs" in asked


def _promised_statuses(shown: Block | None) -> range:
    if shown is None or shown.language != "http":
        return range(200, 300)
    status = int(shown.text.split()[1])
    return range(status, status + 1)


def _differences(shown: Block | None, answer: Answer) -> list[str]:
    if shown is None:
        return []
    if shown.language == "text":
        return event_differences(shown.text, answer.text)
    head, _, body = shown.text.rpartition("\n\n") if shown.language == "http" else ("", "", shown.text)
    names = {line.partition(":")[0] for line in head.splitlines()[1:]}
    missing = [f"header {name} is only on the page" for name in names - answer.headers.keys()]
    return missing + differences(json.loads(body), json.loads(answer.text))
