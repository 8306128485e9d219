"""Common events do not become objects; the result is the same as on the slow path."""

import json
import random
from typing import Any

import pytest

from ai_gateway.wire.answer import Shape
from ai_gateway.wire.stream import EventStream

HEAD = 'data: {"id":"chatcmpl-417","object":"chat.completion.chunk","created":1,"model":"x","choices":'
NOTHING_USED = ',"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}'
CALLS = '[{"id":"c","index":0,"type":"function","function":{"name":"f","arguments":"{}"}}]'
LONG = "x" * 900
CHOICES = {
    "text": '[{"index":0,"delta":{"role":"assistant","content":"word"},"finish_reason":null}]',
    "umlaut": '[{"index":0,"delta":{"role":"assistant","content":"wört"},"finish_reason":null}]',
    "escapes": '[{"index":0,"delta":{"role":"assistant","content":"\\"\\n\\u003c"},"finish_reason":null}]',
    "role": '[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]',
    "thought": '[{"index":0,"delta":{"role":"assistant","content":"","reasoning":"word"},"finish_reason":null}]',
    "completion": '[{"text":"word","index":0,"finish_reason":null}]',
    "logprobs": '[{"index":0,"delta":{"content":"x"},"finish_reason":null,"logprobs":{"content":[]}}]',
    "long": f'[{{"index":0,"delta":{{"content":"{LONG}"}},"finish_reason":null}}]',
    "calls": f'[{{"index":0,"delta":{{"content":"","tool_calls":{CALLS}}},"finish_reason":null}}]',
    "end": '[{"index":0,"delta":{"content":""},"finish_reason":"stop"}]',
    "two": '[{"index":0,"delta":{"content":"a"}},{"index":1,"delta":{"content":"b"}}]',
    "a doubled key": '[{"index":0,"delta":{"content":"a","content":""},"finish_reason":null}]',
    "none": "[]",
}
PIECES = (b'"', b"\\", b"\n", b"\0", b"\xff", b"}", b"]", b",", b"\\ud83d", b"null", b'"error":1,', b'"choices":[],')


class Slow(EventStream):
    """Every event the long way."""

    __slots__ = ()

    def _event(self, event: bytes) -> bytes:
        return self._parse(event)


def outcome(kind: type[EventStream], event: bytes, shape: Shape) -> tuple[Any, ...]:
    """What the client gets for an event in a stream, and what is noted of it."""
    stream = kind(shape)
    stream.feed(f"{HEAD}{CHOICES['text']}}}\n\n".encode())
    events = (stream.feed(event) + stream.feed(b"\n\n")).split(b"\n\n")
    read = [json.loads(one.removeprefix(b"data: ")) for one in events if one]
    return read, stream.written, stream.broken, stream.finish_reason, stream.usage


@pytest.mark.parametrize("name", CHOICES)
def test_the_fast_path_gives_the_same_bytes_as_the_slow_one(name: str) -> None:
    """Whole, two at once, and broken at any place, for any client."""
    rng = random.Random(name)
    for tail in ("", NOTHING_USED):
        event = f"{HEAD}{CHOICES[name]}{tail}}}\n\n".encode()
        for shape in (Shape("i", "m"), Shape("i", "m", with_usage=True), Shape("i", "m", reasoning_content=True)):
            pieces = [event, event * 2]
            for _ in range(150):
                at = rng.randrange(len(HEAD) - 12, len(event))
                pieces.append(event[:at] + rng.choice(PIECES) + event[at + rng.randrange(3) :])
            for piece in pieces:
                assert outcome(EventStream, piece, shape) == outcome(Slow, piece, shape), piece
