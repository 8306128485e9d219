"""The `openai` package at a gateway with limits: it understands the refusal, and obeys the wait."""

import time
from collections.abc import Iterator

import openai
import pytest
from tests.clients.test_openai import HELLO, Counting, make_client
from tests.ollama.fixtures import running
from tests.ollama.fleet import Fleet
from tests.ollama.gateway import MODELS, Gateway

LIMITS = {"models": {"chat": {"rpm": 1}, "without-tools": {"tpm": 600}}}


@pytest.fixture
def limited(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that lets little through."""
    gateway = Gateway(tmp_path_factory.mktemp("limited"), fleet.urls, MODELS, {"limits": LIMITS})
    with running(gateway):
        yield gateway


def test_a_refusal_is_a_rate_limit_error_with_all_that_it_says(limited: Gateway) -> None:
    with make_client(limited) as client:
        first = client.chat.completions.with_raw_response.create(model="chat", messages=HELLO, max_tokens=1)
        assert first.headers["x-ratelimit-remaining-requests"] == "0"
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(model="chat", messages=HELLO, max_tokens=1)
    assert (caught.value.type, caught.value.code) == ("rate_limited", "rate_limit_exceeded")
    assert "requests per minute of model chat: 1" in caught.value.message
    assert caught.value.response.headers["x-ratelimit-limit-requests"] == "1"
    assert 20 < int(caught.value.response.headers["retry-after"]) <= 60


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_retries_waits_as_long_as_it_takes_and_no_longer(limited: Gateway, stream: bool) -> None:
    """One retry is enough: all of the minute's tokens are there again when it comes."""
    counting = Counting()
    with make_client(limited, max_retries=3, http_client=counting.http_client) as client:
        client.chat.completions.create(model="without-tools", messages=HELLO, max_tokens=4, temperature=0)
        began = time.monotonic()
        answer = client.chat.completions.create(
            model="without-tools", messages=HELLO, max_tokens=2000, stop=["a", "e", " "], stream=stream
        )
        assert answer
        assert 0.2 < time.monotonic() - began < 30
    assert counting.sent == 3
