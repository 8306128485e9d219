"""Where OpenAI's streams have null, these have it too."""

import json

import pytest
from tests.wire.recordings import NOTHING_USED, OURS, WITH_USAGE, events, recorded, relayed
from tests.wire.test_stream import chunk, contents

from ai_gateway.wire.usage import Usage


def test_an_empty_text_beside_tool_calls_is_null() -> None:
    """In the event that brings them, however the head is known; words about tool calls in a text are a text."""
    calls = '"tool_calls":[{"id":"c","index":0,"type":"function","function":{"name":"f","arguments":"{}"}}]'
    with_calls = chunk("").replace(b'"content":""', b'"content":"",' + calls.encode())
    said = r'"tool_calls":['
    text, _ = relayed([chunk("a"), chunk(said), with_calls, chunk("")])
    assert contents(text) == ["a", said, None, ""]
    assert b'"content":null' not in relayed([chunk("a"), chunk(said)])[0]


@pytest.mark.parametrize("finish", ["null", '"stop"'])
def test_a_chunk_that_used_nothing_has_no_usage(finish: str) -> None:
    """Null where usage was asked for, else no key; a number in it stays."""
    head = '"id":"cmpl-1","object":"text_completion","created":1,"choices":[{"text":"x","index":0,"finish_reason":'
    rest = '}],"model":"tiny","system_fingerprint":"fp_ollama","usage":'
    event = f"data: {{{head}{finish}{rest}{json.dumps(NOTHING_USED, separators=(',', ':'))}}}\n\n".encode()
    for first in (event, event.replace(b"tiny", b"tiny2")):
        (seen,) = events(relayed([first], WITH_USAGE)[0])
        assert seen["usage"] is None
        assert "usage" not in events(relayed([first], OURS)[0])[0]
    used = event.replace(b'"completion_tokens":0', b'"completion_tokens":1')
    assert events(relayed([used], WITH_USAGE)[0])[0]["usage"]["completion_tokens"] == 1


def test_the_last_chunk_tells_what_was_used() -> None:
    """Of a recorded stream."""
    text, stream = relayed([recorded("completions-stream-usage")], WITH_USAGE)
    *chunks, last, _ = events(text)
    assert all(one["usage"] is None for one in chunks)
    assert last["usage"]["completion_tokens"] > 0
    assert stream.usage == Usage(last["usage"]["prompt_tokens"], last["usage"]["completion_tokens"])
