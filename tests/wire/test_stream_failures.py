"""What is no stream of events, or no event of Ollama's, is never passed on in silence: also behind a head that is
known, where no event is made objects of."""

import itertools
import json
import time

import pytest
from tests.wire.recordings import OURS, WITH_REASONING, WITH_USAGE, events, relayed
from tests.wire.test_stream import DONE, chunk, contents

from ai_gateway.wire.answer import Shape
from ai_gateway.wire.stream import MAX_EVENT_BYTES, MAX_REASON, MOST_EVENTS, EventStream

FIRST, SECOND, LAST = chunk("a"), chunk("b"), chunk("", "stop")
GOOD = [FIRST, SECOND, LAST, DONE]


def odd(old: bytes, new: bytes, event: bytes = SECOND) -> bytes:
    """An event with a known head and something odd in it."""
    assert event.count(old) == 1
    return event.replace(old, new)


NONSENSE = {
    "invalid UTF-8": odd(b'"b"', b'"\xff"'),
    "half a character": odd(b'"b"', b'"\xc3"'),
    "a surrogate in UTF-8": odd(b'"b"', b'"\xed\xa0\x80"'),
    "UTF-16": odd(b'"b"', '"b"'.encode("utf-16-be")),
    "NUL": odd(b'"b"', b'"\x00"'),
    "a control character": odd(b'"b"', b'"\x1b[31m"'),
    "half a surrogate pair": odd(b'"b"', b'"\\ud83d"'),
    "an unknown escape": odd(b'"b"', b'"\\x41"'),
    "a text without end": odd(b'"b"', b'"b'),
    "a brace missing": odd(b'"b"}', b'"b"'),
    "a brace too many": odd(b"}]}\n\n", b"}]}}\n\n"),
    "a bracket missing": odd(b"}]}\n\n", b"}}\n\n"),
    "a comma at the end": odd(b'"b"}', b'"b",}'),
    "NaN": odd(b'"b"', b"NaN"),
    "a tab in a text": odd(b'"b"', b'"\t"'),
    "text behind the object": odd(b"}]}\n\n", b"}]} x\n\n"),
    "deep nesting": odd(b'"b"', b"[" * 100_000),
    "no object": b"data: []\n\n",
    "a number": b"data: 7\n\n",
    "a cut event": SECOND[:-10] + b"\n\n",
    "HTML": b"<html><body>504 Gateway Time-out</body></html>\n\n",
    "JSON without its field": SECOND.removeprefix(b"data: "),
    "a misspelt field": SECOND.replace(b"data:", b"dat:"),
    "an event in two lines": odd(b'"choices":', b'"choices":\n'),
}


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE.keys())
@pytest.mark.parametrize("shape", [OURS, WITH_USAGE, WITH_REASONING], ids=["plain", "usage", "reasoning"])
def test_invalid_bytes_after_a_known_head_break_the_stream(nonsense: bytes, shape: Shape) -> None:
    """The client gets the events before it, but not a `[DONE]` after it."""
    text, stream = relayed([FIRST, FIRST, nonsense, SECOND, LAST, DONE], shape)
    assert contents(text) == ["a", "a"]
    assert stream.is_garbled
    assert stream.broken
    assert not stream.is_complete


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE.keys())
def test_invalid_bytes_in_the_same_piece_break_the_stream(nonsense: bytes) -> None:
    """And as the first thing that comes."""
    text, stream = relayed([b"".join([FIRST, FIRST, nonsense, SECOND, LAST, DONE])])
    assert contents(text) == ["a", "a"]
    assert stream.is_garbled
    text, stream = relayed([nonsense, *GOOD])
    assert (text, stream.is_garbled) == (b"", True)


@pytest.mark.parametrize("nonsense", [NONSENSE["invalid UTF-8"], NONSENSE["a brace missing"], NONSENSE["NUL"]])
def test_invalid_bytes_cut_at_every_byte_break_the_stream(nonsense: bytes) -> None:
    """The network cuts where it likes."""
    data = b"".join([FIRST, FIRST, nonsense, LAST, DONE])
    for at in range(len(data)):
        text, stream = relayed([data[:at], data[at:]])
        assert contents(text) == ["a", "a"]
        assert stream.is_garbled


@pytest.mark.parametrize(
    "hidden",
    [
        odd(b"}]}\n\n", b'}],"error":"boom"}\n\n'),
        odd(b'"choices":', b'"error":{"message":"boom"},"choices":'),
        odd(b"}]}\n\n", b'}],"error":"boom","choices":[{"delta":{},"finish_reason":null}]}\n\n'),
        odd(b"}]}\n\n", b'}],"model":""}\n\n'),
        odd(b'"choices":[{', b'"choices":[],"model":"","choices":[{'),
    ],
)
def test_an_error_cannot_hide_after_a_known_head(hidden: bytes) -> None:
    """Nor the empty model of a runner that died, nor either of them between two lists of choices."""
    text, stream = relayed([FIRST, FIRST, hidden, LAST, DONE])
    assert contents(text) == ["a", "a"]
    assert stream.broken
    assert not stream.is_garbled  # it is well-formed: Ollama's own word


@pytest.mark.parametrize("reason", ["x" * 65, 7, ["stop"], {"a": "b" * 10_000}, "stop\n", True])
def test_a_finish_reason_is_a_word(reason: object) -> None:
    """It goes into the log, into spans and into the audit."""
    last = LAST.replace(b'"stop"', json.dumps(reason).encode())
    text, stream = relayed([FIRST, last, DONE])
    assert contents(text) == ["a"]
    assert (stream.is_garbled, stream.finish_reason) == (True, None)


def test_the_reason_of_an_error_event_is_short() -> None:
    """The log, a span and the audit show it."""
    _, stream = relayed([FIRST, b'data: {"error":"' + b"x" * 100_000 + b'"}\n\n'])
    assert len(stream.broken or "") == MAX_REASON


def test_of_a_repeated_key_the_client_gets_the_value_that_was_read() -> None:
    """Two parsers may not read it differently: the event is written anew, with each key once."""
    twice = odd(b"}]}\n\n", b'}],"choices":[{"index":0,"delta":{"content":"c"},"finish_reason":"stop"}]}\n\n')
    text, stream = relayed([FIRST, FIRST, twice, DONE])
    assert contents(text) == ["a", "a", "c"]
    assert text.count(b'"choices"') == 3
    assert stream.finish_reason == "stop"


@pytest.mark.parametrize(
    "harmless",
    [
        b": a comment\n\n",
        b"\n\n",
        b"event: x\nid: 3\nretry: 5\n\n",
        b"data:\n\n",
        b"data: \n\n",
    ],
)
def test_what_carries_nothing_is_passed_over(harmless: bytes) -> None:
    """Comments, other fields and data without content are the standard's; clients would trip over some of them."""
    text, stream = relayed([harmless, FIRST, harmless, SECOND, harmless, LAST, harmless, DONE, harmless])
    assert contents(text) == ["a", "b", ""]
    assert stream.is_complete


@pytest.mark.parametrize(
    "same",
    [
        lambda event: event.replace(b"data: ", b"data:"),
        lambda event: event.replace(b"\n", b"\r\n"),
        lambda event: event.replace(b"\n", b"\r"),
        lambda event: b"id: 1\n" + event,
        lambda event: event.removesuffix(b"\n") + b"event: chunk\n\n",
        lambda event: b": hello\n" + event,
        lambda event: event.replace(b'"choices":', b'\ndata: "choices":') if event != DONE else event,
    ],
)
def test_an_event_is_the_same_in_every_spelling_of_the_standard(same: object) -> None:
    """What the client gets is one line of data each."""
    assert callable(same)
    text, stream = relayed([same(event) for event in GOOD])
    assert contents(text) == ["a", "b", ""]
    assert stream.is_complete


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_a_byte_order_mark_is_no_part_of_the_first_event(size: int) -> None:
    """It is allowed only at the beginning of a stream."""
    data = b"\xef\xbb\xbf" + b"".join(GOOD)
    text, stream = relayed([data[at : at + size] for at in range(0, len(data), size)])
    assert contents(text) == ["a", "b", ""]
    assert stream.is_complete
    assert relayed([FIRST, b"\xef\xbb\xbf" + SECOND])[1].is_garbled


@pytest.mark.parametrize("content", ["\u2028\u2029\x85", "\ufeff", "\u202e", "😀", "\x7f", '"\\/\b\f\n\r\t', "\u0000"])
def test_any_character_passes_as_json_writes_it(content: str) -> None:
    """Line ends of other standards are none of this one's."""
    text, stream = relayed([FIRST, chunk(content), chunk(content), LAST, DONE])
    assert contents(text) == ["a", content, content, ""]
    assert stream.is_complete


def test_done_is_the_word_alone() -> None:
    """What only begins like it is no end."""
    assert relayed([FIRST, LAST, b"data: [DONE]x\n\n"])[1].is_garbled
    assert relayed([FIRST, LAST, b"data: [DONE] \n\n"])[1].is_complete


def test_bytes_after_the_end_do_not_break_a_complete_answer() -> None:
    """However much it is."""
    text, stream = relayed([*GOOD, *NONSENSE.values(), b"x" * (MAX_EVENT_BYTES + 1), b"\n\n" * (MOST_EVENTS + 1)])
    assert events(text)[-1] == "[DONE]"
    assert stream.is_complete


def test_events_of_nothing_are_bounded() -> None:
    """They would hold the loop; of Ollama's shortest events fewer fit into one reading."""
    text, stream = relayed([FIRST, b"\n\n" * (MOST_EVENTS + 1), LAST, DONE])
    assert contents(text) == ["a"]
    assert stream.is_garbled
    assert relayed([FIRST, SECOND * MOST_EVENTS, LAST, DONE])[1].is_complete


def test_an_event_that_comes_byte_by_byte_costs_no_more_than_its_bytes() -> None:
    """A large tool call over a slow line; what is held is joined once."""
    event = chunk("x" * 200_000)
    stream = EventStream(OURS)
    stream.feed(FIRST)
    began = time.thread_time()
    passed = b"".join(stream.feed(event[at : at + 2]) for at in range(0, len(event), 2))
    assert time.thread_time() - began < 5.0  # joined anew with each piece it would be minutes
    assert len(passed) >= len(event) - 100
    assert stream.broken is None


def test_a_known_head_is_followed_when_it_changes() -> None:
    """Old Ollamas write the second of the moment into each event."""
    sent = [chunk(str(number)).replace(b'"created":', b'"created":%d' % number) for number in (1, 1, 2, 2, 1)]
    for left, right in itertools.pairwise(sent):
        text, _ = relayed([left, right, right])
        assert [event["id"] for event in events(text)] == [OURS.id] * 3
