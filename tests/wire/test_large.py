"""A large call is read by the rules of a small one, and sent in the pieces that were received."""

import json
import tracemalloc
from typing import Any

import pytest

from ai_gateway.errors import InvalidRequest
from ai_gateway.wire.call import Call, read_call
from ai_gateway.wire.json_scan import Scan
from ai_gateway.wire.json_windows import WINDOW
from ai_gateway.wire.large import SPLIT, read_large
from ai_gateway.wire.operations import OPERATIONS
from ai_gateway.wire.placeholders import finished


def scan(body: bytes) -> Scan:
    """All of a body, read."""
    scan = Scan(SPLIT)
    for at in range(0, len(body), WINDOW):
        scan.feed(body[at : at + WINDOW])
    return scan


def large(operation: str, body: bytes) -> Call:
    """The call in a body, as a large one is read."""
    return finished(read_large(OPERATIONS[operation], scan(body).end()))


def sent(operation: str, **fields: Any) -> Any:
    """What goes upstream of a large body; it is what would go of a small one."""
    body = json.dumps({"model": "m", **fields}).encode()
    pieces = large(operation, body).upstream(7).naming("llama3:latest")
    content = json.loads(b"".join(pieces))
    sent = read_call(OPERATIONS[operation], body).upstream(7).naming("llama3:latest")
    assert content == json.loads(b"".join(sent))
    return content


def refusals(operation: str, **fields: Any) -> list[tuple[str, str | None, str]]:
    """The refusal of a large body, and of the same as a small one."""
    body = json.dumps({"model": "m", **fields}).encode()
    found = []
    for read in (large, lambda name, body: read_call(OPERATIONS[name], body)):
        with pytest.raises(InvalidRequest) as caught:
            read(operation, body)
        found.append((caught.value.error_code, caught.value.param, caught.value.message))
    return found


LONG = 'words, "quotes" and \\ é🏔\n' * 20_000
USER = {"role": "user", "content": "Hi"}
DEVELOPER = {"role": "developer", "content": "Be brief."}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "iVBO" * 100_000}}


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([{"role": "user", "content": LONG}], id="a long text"),
        pytest.param([{"role": "developer", "content": LONG}, USER], id="a long text in a message that is normalized"),
        pytest.param([DEVELOPER, USER] * 20_000, id="many messages"),
        pytest.param([USER, {"role": "user", "content": [IMAGE, {"type": "text", "text": LONG}]}, USER], id="an image"),
        pytest.param(
            [{"role": "developer", "content": [IMAGE, IMAGE]}] * 3, id="images in messages that are normalized"
        ),
        pytest.param([{"role": "user", "content": [{"type": "text", "text": LONG[:9000]}] * 60}], id="many long parts"),
        pytest.param([{"role": "user", "content": LONG[:500]}] * 3000, id="texts of hundreds of bytes"),
    ],
)
def test_messages_are_normalized_and_kept_as_in_a_small_body(messages: list[Any]) -> None:
    """Roles are normalized, and nothing else changes."""
    content = sent("chat", messages=messages, stream=True, temperature=0.5, unknown=["x" * 30_000])
    assert "developer" not in {message["role"] for message in content["messages"]}


def test_the_beginnings_of_a_prompt_can_be_read_where_a_long_message_was_rewritten() -> None:
    """Spans show them. What follows its long text was once taken for a text, and cut."""
    messages = [{"role": "developer", "content": LONG, "x": list(range(400))}, USER]
    call = large("chat", json.dumps({"model": "m", "messages": messages}).encode())
    found = [message for text in call.prompts(1000) for message in json.loads(text)]
    assert [message["role"] for message in found] == ["system", "user"]
    assert found[0]["x"] == list(range(400))


def test_prompts_inputs_and_unknown_keys_are_kept() -> None:
    """Each of them may be the large part."""
    assert sent("completions", prompt=LONG)["prompt"] == LONG
    assert sent("embeddings", input=LONG)["input"] == LONG
    assert sent("embeddings", input=["a", LONG, "b"] + ["c"] * 50_000)["input"][1] == LONG
    assert sent("chat", messages=[USER], metadata=[[{}]] * 50_000)["metadata"][0] == [{}]
    assert sent("chat", messages=[USER], tools=[{"type": "function", "function": {"name": "f", "description": LONG}}])


def test_an_error_names_the_same_path_as_for_a_small_body() -> None:
    """Also of a message far down a long list, after others that were normalized."""
    bad = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]}
    for messages in ([DEVELOPER] * 9000 + [bad], [USER, {"role": "user", "content": [IMAGE, *bad["content"]]}]):
        in_pieces, at_once = refusals("chat", messages=messages)
        assert in_pieces == at_once
        assert in_pieces[0] == "image_url_unsupported"
    hostile: list[list[Any]] = [[1] * 90_000, ["a"] * 90_000 + [None], [["a"]] * 90_000, [{}] * 90_000]
    for inputs in hostile:
        in_pieces, at_once = refusals("embeddings", input=inputs)
        assert in_pieces == at_once


def test_a_value_that_is_too_large_is_refused_by_name() -> None:
    """One message of ten thousand parts, and tools that are megabytes without their texts."""
    parts = [{"type": "text", "text": "a"}] * 30_000
    with pytest.raises(InvalidRequest) as caught:
        large("chat", json.dumps({"model": "m", "messages": [USER, {"role": "user", "content": parts}]}).encode())
    assert caught.value.param == "messages[1]"
    with pytest.raises(InvalidRequest) as caught:
        large("chat", json.dumps({"model": "m", "messages": [USER], "tools": [{}] * 700_000}).encode())
    assert caught.value.param == "tools"


@pytest.mark.parametrize(
    ("operation", "key", "item"),
    [
        ("embeddings", "input", b'"a"'),
        ("embeddings", "input", b"[]"),
        ("chat", "messages", b'{"role":"developer","content":"x"}'),
        ("chat", "messages", b'{"role":"user","content":"\\u0041"}'),
    ],
)
def test_a_list_of_a_million_costs_little_more_than_it_weighs(operation: str, key: str, item: bytes) -> None:
    """Reading, checking and normalizing take less than twice the body's bytes; objects would take ten times."""
    size = 2 << 20
    body = b'{"model":"m","%b":[%b]}' % (key.encode(), b",".join([item] * (size // (len(item) + 1))))
    tracemalloc.start()
    try:
        values = scan(body).end()
        try:
            call = finished(read_large(OPERATIONS[operation], values))
            assert sum(map(len, call.upstream(None).naming("m:latest"))) > size * 0.8
        except InvalidRequest:
            pass
        assert tracemalloc.get_traced_memory()[1] < 2 * size
    finally:
        tracemalloc.stop()


def test_a_client_cannot_write_a_placeholder() -> None:
    """A text like a placeholder stays text: placeholders have a secret of their own body."""
    text = "0123456789abcdef01234567" + "0t" + "x" * 40_000
    assert sent("chat", messages=[{"role": "developer", "content": text}, DEVELOPER])["messages"][0]["content"] == text
