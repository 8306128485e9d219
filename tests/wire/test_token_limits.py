"""The limit of tokens of an answer: the client's in any spelling, or the config's."""

import json
from typing import Any

import pytest
from tests.wire.test_call import call, refused, sent

from ai_gateway.wire.call import read_call
from ai_gateway.wire.operations import CHAT


@pytest.mark.parametrize(("text", "sent_as"), [("100.0", 100), ("1e2", 100), ("1E2", 100), ("100", 100)])
def test_a_limit_in_an_odd_spelling_is_the_number_that_it_is(text: str, sent_as: int) -> None:
    """JavaScript and Python write 100.0; Go reads no such number into an int."""
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":%b}' % text.encode()
    read = read_call(CHAT, body)
    assert read.token_limit() == sent_as
    assert json.loads(b"".join(read.upstream(None).naming("m")))["max_tokens"] == sent_as


@pytest.mark.parametrize("text", ["1.5", "1e999", "1e400", "1e30", "0.1", "9" * 500, "1" + "0" * 5000])
def test_a_limit_other_than_a_whole_number_is_refused(text: str) -> None:
    """By its name, however long it is."""
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":%b}' % text.encode()
    assert refused("chat", body).param == "max_tokens"


@pytest.mark.parametrize("key", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("value", [0, -1, -2, -1.0, -0.0])
def test_no_limit_is_no_limit(key: str, value: float) -> None:
    """Editors send them; then the model's own limit holds, and the estimates count with it."""
    assert call("chat", **{key: value}).token_limit() is None
    assert sent("chat", 2048, **{key: value})["max_tokens"] == 2048
    assert sent("completions", None, **{key: value}).keys().isdisjoint({"max_tokens", "max_completion_tokens"})


def test_no_limit_under_one_name_leaves_the_other() -> None:
    """Whichever it is."""
    assert sent(max_tokens=-1, max_completion_tokens=5)["max_tokens"] == 5
    assert sent(max_tokens=5, max_completion_tokens=0)["max_tokens"] == 5


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, 2048),
        ({"max_tokens": 5}, 5),
        ({"max_tokens": None}, 2048),
        ({"max_completion_tokens": 6}, 6),
        ({"max_tokens": 5, "max_completion_tokens": 6}, 5),
        ({"max_completion_tokens": None}, 2048),
    ],
)
def test_the_token_limit_is_the_clients_or_the_models(fields: dict[str, Any], expected: int) -> None:
    """A request's own limit goes before the config's, by its older name first, as Ollama knows no other."""
    assert sent("chat", 2048, **fields)["max_tokens"] == expected
    assert sent("completions", 2048, **fields)["max_tokens"] == expected


def test_no_limit_is_invented() -> None:
    """Where neither names one, and for embeddings never."""
    assert "max_tokens" not in sent("chat")
    assert "max_tokens" not in sent("embeddings", 2048)
