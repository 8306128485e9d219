"""Streams are right in any pieces: rewritten by the head, never cut, and a broken one is noticed."""

import itertools
import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.wire.recordings import (
    CUT,
    FINISHED,
    OURS,
    WITH_REASONING,
    WITH_USAGE,
    as_the_client_should_see,
    events,
    recorded,
    relayed,
)

from ai_gateway.wire.answer import Shape
from ai_gateway.wire.stream import MAX_EVENT_BYTES, EventStream
from ai_gateway.wire.usage import Usage

HEAD = '"id":"chatcmpl-1","object":"chat.completion.chunk","created":1787000000,"model":"tiny"'
DONE = b"data: [DONE]\n\n"
USAGE = '"usage":{"prompt_tokens":12,"completion_tokens":2,"total_tokens":14}'

every_shape = pytest.mark.parametrize(
    "shape", [OURS, WITH_USAGE, WITH_REASONING], ids=["plain", "usage", "reasoning_content"]
)
every_stream = pytest.mark.parametrize("name", FINISHED)


def chunk(content: str = "Hi", finish: str | None = None, head: str = HEAD) -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish}
    shown = json.dumps([choice], separators=(",", ":"), ensure_ascii=False)
    return f'data: {{{head},"system_fingerprint":"fp_ollama","choices":{shown}}}\n\n'.encode()


def contents(text: bytes) -> list[str]:
    """The text in each event."""
    return [event["choices"][0]["delta"]["content"] for event in events(text) if event != "[DONE]"]


@every_shape
@every_stream
def test_a_client_gets_every_event_with_its_own_id_and_model(name: str, shape: Shape) -> None:
    """And nothing else of it is changed, but for the usage that was not asked for."""
    text, stream = relayed([recorded(name)], shape)
    assert events(text) == as_the_client_should_see(recorded(name), shape)
    assert stream.is_complete


@every_shape
@every_stream
def test_a_stream_cut_at_any_byte_is_the_same_stream(name: str, shape: Shape) -> None:
    """Two pieces, at every place there is."""
    whole, _ = relayed([recorded(name)], shape)
    data = recorded(name)
    for at in range(len(data) + 1):
        text, stream = relayed([data[:at], data[at:]], shape)
        assert text == whole
        assert stream.is_complete


@every_shape
@pytest.mark.parametrize("name", [*FINISHED, *CUT])
def test_a_stream_in_single_bytes_is_the_same_stream(name: str, shape: Shape) -> None:
    """Also inside a character of several bytes, and where the stream breaks."""
    data = recorded(name)
    whole, at_once = relayed([data], shape)
    text, stream = relayed([data[at : at + 1] for at in range(len(data))], shape)
    assert text == whole
    assert (stream.broken, stream.is_complete, stream.usage) == (at_once.broken, at_once.is_complete, at_once.usage)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.sampled_from(FINISHED), st.sampled_from([b"\n", b"\r\n", b"\r"]), st.lists(st.integers(0, 1500), max_size=12))
def test_a_stream_in_any_pieces_with_any_line_ends_is_the_same_stream(name: str, end: bytes, cuts: list[int]) -> None:
    """SSE allows LF, CRLF and CR; a CRLF may be cut in its middle."""
    data = recorded(name).replace(b"\n", end)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    text, stream = relayed([data[a:b] for a, b in itertools.pairwise(places)])
    assert text == relayed([recorded(name)])[0]
    assert stream.is_complete


@pytest.mark.parametrize("end", [b"\r\n", b"\r"])
def test_other_line_ends_cut_at_any_byte_are_the_same_stream(end: bytes) -> None:
    """The hardest recording, at every place."""
    data = recorded("chat-stream-new").replace(b"\n", end)
    whole, _ = relayed([recorded("chat-stream-new")])
    for at in range(len(data) + 1):
        text, stream = relayed([data[:at], data[at:]])
        assert text == whole
        assert stream.is_complete


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_line_end_that_is_cut_ends_no_event_early(end: bytes) -> None:
    """The halves of a CRLF are no empty line: data on several lines stays one event."""
    event = chunk("a").replace(b',"choices"', b'\ndata: ,"choices"')
    data = (event + chunk("", "stop") + DONE).replace(b"\n", end)
    for at in range(len(data) + 1):
        text, stream = relayed([data[:at], b"", data[at:]])
        assert contents(text) == ["a", ""]
        assert stream.is_complete


def test_an_event_is_passed_on_as_soon_as_it_is_complete() -> None:
    """With any line ends: a client does not wait for a later event."""
    for end in (b"\n", b"\r\n", b"\r"):
        stream = EventStream(OURS)
        for word in ("one", "two"):
            assert contents(stream.feed(chunk(word).replace(b"\n", end))) == [word]


def test_several_events_in_one_piece_stay_several() -> None:
    """With the beginning of the next one kept."""
    stream = EventStream(OURS)
    third = chunk("three")
    assert contents(stream.feed(chunk("one") + chunk("two") + third[:30])) == ["one", "two"]
    assert contents(stream.feed(third[30:])) == ["three"]


def test_comments_and_fields_that_openai_lacks_are_left_out() -> None:
    """They are no events; those around them are."""
    noise = b": ping\n\nevent: x\n\nid: 7\nretry: 3\n\n\n\n"
    text, stream = relayed([noise + chunk("a") + noise + chunk("", "stop") + b":\n\n" + DONE])
    assert contents(text) == ["a", ""]
    assert stream.is_complete


def test_an_event_may_have_a_comment_or_another_field_before_its_data() -> None:
    """Only its data is relayed."""
    text, _ = relayed(
        [chunk("a"), b": c\nid: 1\n" + chunk("b"), b"event: m\n" + chunk("c").replace(b"data: ", b"data:")]
    )
    assert contents(text) == ["a", "b", "c"]


def test_data_on_several_lines_is_one_event() -> None:
    """SSE joins them with line ends, which JSON allows between values."""
    event = chunk("a").replace(b',"choices"', b'\ndata: ,"choices"')
    text, stream = relayed([event, chunk("", "stop"), DONE])
    assert contents(text) == ["a", ""]
    assert stream.is_complete


HOSTILE = (
    '"finish_reason":null', '"finish_reason":"stop"', "data: [DONE]", "\n\ndata: [DONE]\n\n", '"model":""',
    '{"error":"x"}', "data: {" + HEAD + ",", "\r\n\r\n", "\r",
    '","usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}}\n\n',
    '"id":"chatcmpl-1"', "tiny", "\u2028\u2029\u0085\x00", "🏔\ud83d".encode("utf-8", "replace").decode(), "\\", '"',
)  # fmt: skip


@pytest.mark.parametrize("content", HOSTILE)
def test_content_cannot_pass_for_anything_but_content(content: str) -> None:
    """Not for a head, an end, an error or usage; first, in the middle, or last."""
    data = b"".join([chunk(content), chunk("x"), chunk(content), chunk(content, "stop"), DONE])
    text, stream = relayed([data])
    assert contents(text) == [content, "x", content, content]
    assert stream.is_complete
    assert all(event == "[DONE]" or (event["id"], event["model"]) == (OURS.id, OURS.model) for event in events(text))


@pytest.mark.parametrize("theirs", ['q"uote', "back\\slash", "Grüezi 🏔", "data: [DONE]", 'x","model":"y', "\n\n"])
def test_names_with_quotes_and_letters_of_any_kind_are_exchanged_as_a_whole(theirs: str) -> None:
    """Theirs by ours, whichever of them is the odd one."""
    head = f'"id":{json.dumps(theirs)},"object":"chat.completion.chunk","created":1,"model":{json.dumps(theirs)}'
    shape = Shape(theirs[::-1], theirs + "!")
    data = b"".join([chunk("a", head=head), chunk("b", head=head), chunk("c", "stop", head=head), DONE])
    text, stream = relayed([data], shape)
    assert contents(text) == ["a", "b", "c"]
    assert [(event["id"], event["model"]) for event in events(text)[:-1]] == [(shape.id, shape.model)] * 3
    assert stream.is_complete


def test_a_head_that_drifts_is_exchanged_all_the_same() -> None:
    """Before 0.32.6 `created` drifts; an id or a model that changes is Ollama's affair too."""
    drifting = [HEAD.replace("1787000000", str(1787000000 + number // 2)) for number in range(6)]
    drifting.append(HEAD.replace("chatcmpl-1", "chatcmpl-22"))
    text, _ = relayed([b"".join(chunk(str(number), head=head) for number, head in enumerate(drifting))])
    assert contents(text) == [str(number) for number in range(7)]
    assert {(event["id"], event["model"]) for event in events(text)} == {(OURS.id, OURS.model)}
    assert [event["created"] - 1787000000 for event in events(text)] == [0, 0, 1, 1, 2, 2, 0]


def test_keys_in_another_order_are_exchanged_too() -> None:
    """Text completions name the model behind the choices; a future Ollama may name it anywhere."""
    other = b'data: {"model":"tiny","id":"1","created":1,"object":"o","choices":[{"finish_reason":null}],"x":1}\n\n'
    text, _ = relayed([other, other])
    head = {"model": OURS.model, "id": OURS.id, "created": 1, "object": "o"}
    assert events(text) == [{**head, "choices": [{"finish_reason": None}], "x": 1}] * 2
    event = b'data: {"model":"tiny","choices":[{"text":"a","finish_reason":null}],"new":{"model":"tiny"},"id":"1"}\n\n'
    text, _ = relayed([event, event])
    assert (
        events(text)
        == [
            {
                "model": OURS.model,
                "choices": [{"text": "a", "finish_reason": None}],
                "new": {"model": "tiny"},
                "id": OURS.id,
            }
        ]
        * 2
    )


def test_numbers_keep_their_text() -> None:
    """An event that has to be parsed is not rewritten beyond id, model and usage."""
    event = chunk("a").replace(b'"choices"', b'"x":12345678901234567890123,"y":1.0,"choices"')
    text, _ = relayed([event])
    assert b'"x":12345678901234567890123,"y":1.0,' in text


def test_a_chunk_with_an_empty_model_breaks_the_stream() -> None:
    """This is how Ollama shows that a runner died; the chunk and all after it are not passed on."""
    text, stream = relayed([chunk("a"), chunk("b"), chunk("", head=HEAD.replace("tiny", "")), chunk("c", "stop"), DONE])
    assert contents(text) == ["a", "b"]
    assert stream.broken is not None
    assert "empty model" in stream.broken
    assert not stream.is_complete


def test_a_recorded_crash_of_the_runner_is_noticed() -> None:
    """As Ollama wrote it when its runner was killed."""
    text, stream = relayed([recorded("completions-stream-runner-killed")])
    assert len(events(text)) == 2
    assert stream.broken == "a chunk with an empty model: the runner failed"


def test_a_recorded_crash_of_the_server_is_noticed() -> None:
    """It just ends: nothing is broken, and nothing is complete."""
    text, stream = relayed([recorded("chat-stream-server-killed")])
    assert len(events(text)) == 2
    assert (stream.broken, stream.is_complete) == (None, False)


@pytest.mark.parametrize("error", ['"it broke"', '{"message":"it broke","type":"api_error"}'])
def test_an_error_event_breaks_the_stream(error: str) -> None:
    """Ollama's words go to the log, not to the client."""
    text, stream = relayed([chunk("a"), f'data: {{"error":{error}}}\n\n'.encode(), chunk("b"), DONE])
    assert contents(text) == ["a"]
    assert "it broke" in str(stream.broken)


def test_an_end_without_a_finish_reason_is_no_end() -> None:
    """`[DONE]` alone does not make an answer whole, and is kept from the client."""
    text, stream = relayed([chunk("a"), DONE])
    assert contents(text) == ["a"]
    assert stream.broken == "[DONE] without a finish_reason"


def test_a_finish_reason_without_an_end_is_no_end() -> None:
    """The stream was cut after it."""
    _, stream = relayed([chunk("a"), chunk("", "stop")])
    assert (stream.finish_reason, stream.is_complete) == ("stop", False)


def test_nothing_is_passed_on_after_the_end() -> None:
    """A client is finished after `[DONE]`, even if more comes."""
    text, stream = relayed([chunk("", "stop"), DONE, chunk("b"), DONE, b"data: nonsense\n\n"])
    assert events(text)[1:] == ["[DONE]"]
    assert stream.is_complete


@pytest.mark.parametrize("nonsense", [b"data: {", b"data: []", b"data: 7", b"data: \xff", b"data: null", b"data: {}x"])
def test_an_event_that_is_no_json_object_breaks_the_stream(nonsense: bytes) -> None:
    """Garbage is never relayed."""
    text, stream = relayed([chunk("a"), nonsense + b"\n\n", chunk("b")])
    assert contents(text) == ["a"]
    assert stream.broken is not None


def test_an_event_without_an_end_breaks_the_stream() -> None:
    """Memory is bounded for anything that an endpoint sends."""
    stream = EventStream(OURS)
    piece = b"x" * (1 << 20)
    fed = 0
    while stream.broken is None:
        assert stream.feed(piece) == b""
        fed += len(piece)
        assert fed <= MAX_EVENT_BYTES + len(piece)


@pytest.mark.parametrize("shape", [OURS, WITH_USAGE], ids=["not asked", "asked"])
def test_usage_is_noted_and_sent_to_clients_that_requested_it(shape: Shape) -> None:
    """The gateway requests it on every stream; other clients see no chunk without choices."""
    text, stream = relayed([recorded("chat-stream-new")], shape)
    assert stream.usage == Usage(12, 2)
    assert sum("usage" in event for event in events(text)[:-1]) == (1 if shape.with_usage else 0)


def test_usage_in_the_finish_chunk_is_taken_out_of_it() -> None:
    """The chunk itself stays."""
    last = chunk("", "stop").replace(b'"choices"', USAGE.encode() + b',"choices"')
    text, _ = relayed([chunk("a"), last, DONE])
    assert contents(text) == ["a", ""]
    assert b"usage" not in text


def test_the_zero_usage_of_text_completions_is_removed_unless_requested() -> None:
    """Ollama adds one to every chunk once usage is asked for; the true one is noted."""
    text, stream = relayed([recorded("completions-stream-usage")])
    assert b"usage" not in text
    assert stream.usage == Usage(22, 4)
    asked, _ = relayed([recorded("completions-stream-usage")], WITH_USAGE)
    assert all("usage" in event for event in events(asked)[:-1])


def test_the_zero_usage_is_taken_from_chunks_with_a_known_head_as_well() -> None:
    """Should a future Ollama put the model in front there too."""
    zero = b',"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}}\n\n'
    text, _ = relayed([chunk(str(number))[:-3] + zero for number in range(3)])
    assert contents(text) == ["0", "1", "2"]
    assert b"usage" not in text


def test_reasoning_is_repeated_if_the_config_wants_it() -> None:
    """Beside Ollama's own key, in every chunk that has it and in no other."""
    text, _ = relayed([recorded("chat-stream-new")], WITH_REASONING)
    deltas: list[Any] = [event["choices"][0]["delta"] for event in events(text)[:-1]]
    assert [delta.get("reasoning_content") for delta in deltas] == ['Let me "see"', " then.", None, None, None]


def test_chunks_with_the_known_head_are_relayed_and_not_written_anew() -> None:
    """The common chunk keeps its bytes behind the head, odd spellings and spaces too."""
    odd = chunk("a").replace(b'"delta":{"content":"a"}', b'"delta" : {"content":"\\u0061\\/"}')
    text, _ = relayed([chunk("x"), odd])
    assert b'"delta" : {"content":"\\u0061\\/"}' in text


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(st.lists(st.text(max_size=12), max_size=6), st.booleans(), st.randoms(use_true_random=False))
def test_any_text_comes_through_in_any_pieces(words: list[str], is_escaped: bool, rng: random.Random) -> None:
    """For any text of a model, and any spelling of its JSON."""
    sent = [chunk(word) for word in words]
    if is_escaped:
        sent = [json_escaped(event) for event in sent]
    data = b"".join([*sent, chunk("", "stop"), DONE])
    places = sorted({0, len(data), *(rng.randrange(len(data)) for _ in range(5))})
    text, stream = relayed([data[a:b] for a, b in itertools.pairwise(places)])
    assert contents(text) == [*words, ""]
    assert stream.is_complete


def json_escaped(event: bytes) -> bytes:
    """The same event in ASCII."""
    return b"data: " + json.dumps(json.loads(event[6:]), separators=(",", ":")).encode() + b"\n\n"
