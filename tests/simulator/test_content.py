"""The answers: always the same for the same prompt, and as the request wants them."""

import json
import math

import pytest

from ai_gateway.simulator.asks import Ask, Message, Tool
from ai_gateway.simulator.composition import Composition, Voice, compose
from ai_gateway.simulator.durations import parse_keep_alive, rfc3339
from ai_gateway.simulator.go_json import Fields, decode, encode
from ai_gateway.simulator.json_schema import example
from ai_gateway.simulator.names import is_cloud, parse_name
from ai_gateway.simulator.prompt_cache import Slot, choose_slot, common_prefix
from ai_gateway.simulator.refusals import Refusal
from ai_gateway.simulator.vectors import embed, normalised, shortened

VOICE = Voice("llama3:latest", thinks=False, answer_tokens=40, seed=0)
WEATHER = Tool(
    "get_weather",
    {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]},
)


def said(text: str = "hello", voice: Voice = VOICE, **changes: object) -> Composition:
    return compose(Ask(model="llama3", messages=(Message("user", text),), **changes), voice)  # type: ignore[arg-type]


def test_the_same_prompt_gives_the_same_answer_and_a_seed_another() -> None:
    assert said() == said()
    assert said() != said("goodbye")
    assert said() != said(seed=7)
    assert said() != said(voice=Voice("llama3:latest", False, 40, seed=1))


def test_max_tokens_cuts_the_answer_and_says_so() -> None:
    answer = said(max_tokens=3)
    assert (answer.content, answer.done_reason) == (("I", " am", " a"), "length")


def test_a_limit_that_the_answer_does_not_reach_changes_nothing() -> None:
    assert said(max_tokens=10_000) == said()


def test_a_stop_text_ends_the_answer_before_it() -> None:
    answer = said(stop=("ated lla",))
    assert ("".join(answer.content), answer.done_reason) == ("I am a simul", "stop")


def test_a_tool_that_is_named_is_called_with_complete_arguments() -> None:
    (call,) = said("what is the weather, get_weather please", tools=(WEATHER,)).tool_calls
    assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "text"})
    assert call.id.startswith("call_")


def test_a_tool_that_is_not_mentioned_is_not_called() -> None:
    assert said("hello", tools=(WEATHER,)).tool_calls == ()


def test_after_a_tools_answer_there_is_text() -> None:
    messages = (Message("user", "get_weather"), Message("tool", "sunny"))
    assert compose(Ask(model="llama3", messages=messages, tools=(WEATHER,)), VOICE).tool_calls == ()


def test_a_thinking_model_thinks_unless_told_not_to() -> None:
    voice = Voice("qwen3:8b", thinks=True, answer_tokens=40, seed=0)
    assert said(voice=voice).thinking
    assert not said(voice=voice, effort="none").thinking


def test_an_answer_to_a_schema_fits_it() -> None:
    schema = {
        "type": "object",
        "properties": {
            "kind": {"enum": ["b", "a"]},
            "items": {"type": "array", "items": {"$ref": "#/$defs/n"}, "minItems": 2},
            "left": {"type": "string"},
        },
        "required": ["kind", "items"],
        "$defs": {"n": {"anyOf": [{"type": "number", "minimum": 3}, {"type": "null"}]}},
    }
    assert json.loads("".join(said(schema=schema).content)) == {"kind": "b", "items": [3.0, 3.0]}
    assert isinstance(json.loads("".join(said(schema={}).content)), dict)


def test_a_schema_that_refers_to_itself_comes_to_an_end() -> None:
    assert example({"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]})


@pytest.mark.parametrize(
    ("body", "model"),
    [
        (b'{"Model": "a"}', "a"),
        (b'{"model": "a", "MODEL": "b"}', "b"),
        (b'{"MODEL": "b", "model": "a"}', "a"),
        (b'{"model": "a", "MODEL": "b", "model": "c"}', "c"),
        ('{"\u212aind": 1, "model": "a"}'.encode(), "a"),
        (b'{"model": "a"} and more', "a"),
    ],
)
def test_keys_match_in_any_case_and_the_last_one_wins(body: bytes, model: str) -> None:
    assert Fields(decode(body), "openai.Request").text("model") == model


def test_long_s_counts_as_s() -> None:
    assert Fields(decode('{"\u017ftream": true}'.encode()), "openai.Request").flag("stream")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "EOF"),
        (b"{", "unexpected EOF"),
        (b"x", "invalid character 'x' looking for beginning of value"),
        (b'{"model":tiny}', "invalid character 'i' in literal true (expecting 'r')"),
        (b'{"model":"tiny",}', "invalid character '}' looking for beginning of object key string"),
        (b'{"a" 1}', "invalid character '1' after object key"),
        (b"nul", "unexpected EOF"),
    ],
)
def test_broken_json_is_refused_in_gos_words(body: bytes, message: str) -> None:
    with pytest.raises(Refusal) as caught:
        decode(body)
    assert caught.value.message == message


def test_json_is_written_with_gos_escapes() -> None:
    assert encode({"a": "<b>&\u2028"}) == rb'{"a":"\u003cb\u003e\u0026\u2028"}'
    assert encode(json.loads(r'"\ud800"'))


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("llama3", "llama3:latest"),
        ("me/llama3:v1", "me/llama3:v1"),
        ("registry.ollama.ai/library/llama3:8b", "llama3:8b"),
        ("127.0.0.1:5000/library/tiny:v1", "127.0.0.1:5000/library/tiny:v1"),
    ],
)
def test_names_are_shown_short_and_with_their_tag(text: str, short: str) -> None:
    name = parse_name(text)
    assert name is not None
    assert name.short == short


@pytest.mark.parametrize("text", ["", "a b", "a:", "-a", "a.b/c_d/e/f", "a.b/c_d:x-1"])
def test_an_invalid_name_is_not_a_name(text: str) -> None:
    assert parse_name(text) is None


def test_cloud_names_are_known_by_their_suffix() -> None:
    assert is_cloud("gpt-oss:20b-cloud")
    assert is_cloud("x:cloud")
    assert not is_cloud("cloud:latest")


def test_keep_alive_is_a_number_or_a_go_duration() -> None:
    values = [parse_keep_alive(value) for value in (None, 5, "1m30s", "250ms", -1, "-1s", 0, "0")]
    assert values == [None, 5.0, 90.0, 0.25, math.inf, math.inf, 0.0, 0.0]
    with pytest.raises(Refusal, match='time: invalid duration "wild"'):
        parse_keep_alive("wild")


def test_times_are_written_as_go_writes_them() -> None:
    assert rfc3339(1787338102.5) == "2026-08-21T18:48:22.5Z"


def test_the_idle_slot_with_the_longest_common_prefix_is_taken() -> None:
    slots = [Slot("hello world", 1.0), Slot("hello there", 2.0), Slot("hello there", 3.0, is_busy=True)]
    assert choose_slot(slots, "hello there, you") == (slots[1], 11)


def test_a_prefix_of_a_tenth_or_less_does_not_bind_and_the_oldest_slot_is_taken() -> None:
    slots = [Slot("hxxxxxxxxxx", 2.0), Slot("yyy", 1.0)]
    assert choose_slot(slots, "hello world, it is me") == (slots[1], 0)
    assert choose_slot([Slot(is_busy=True)], "hello") is None
    assert common_prefix("abcd", "abxd") == 2


def test_vectors_have_length_one_and_follow_from_the_text() -> None:
    vector = embed("hello", "m", 384)
    assert vector == embed("hello", "m", 384) != embed("hello!", "m", 384)
    assert math.isclose(sum(x * x for x in vector), 1, rel_tol=1e-6)
    assert shortened(vector, 8) == normalised(vector[:8])
    assert shortened(vector, 0) == shortened(vector, 999) == vector
