"""What clients of OpenAI and Ollama really send: it is mended where it has one meaning, and refused by its place."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from tests.attack.command import serving
from tests.attack.table import Tried
from tests.flow.upstream import Upstream, answer_well
from tests.flow.world import CHAT, MODELS, Served, World, config

USER = {"role": "user", "content": "hello world"}
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in "fg"
]
NAMED = {"type": "function", "function": {"name": "g"}}
COMPLETIONS = "/v1/completions"
OF_OLLAMA = ("upstream_rejected",)


def asked(**more: Any) -> bytes:
    return json.dumps({"model": "llama3", "messages": [USER], "max_tokens": 3, **more}).encode()


def history(*messages: Mapping[str, Any], **more: Any) -> bytes:
    return asked(messages=[USER, *messages, USER], **more)


def call(arguments: Any) -> dict[str, Any]:
    return {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}


async def simulated(world: World, **sections: Any) -> Served:
    return await world.gateway((await world.simulator()).urls, **sections)


async def recorded(world: World, **sections: Any) -> tuple[Served, Upstream]:
    """A gateway before an endpoint that remembers what it was sent."""
    upstream = await world.upstream(answer_well)
    return await world.gateway([upstream.url], **sections), upstream


@pytest.mark.attack("clients", "max_tokens and max_completion_tokens that mean no limit: 0, -1, -2")
async def test_no_limit_is_the_limit_of_the_model(world: World, tried: Tried) -> None:
    """In the estimates as well: a budget of 600 tokens a minute is not used up by one such call."""
    capped = {**MODELS, "llama3": {"max_tokens": 7}}
    served, upstream = await recorded(world, models=capped, limits={"default": {"tpm": 600}})
    tried.times = 0
    for key in ("max_tokens", "max_completion_tokens"):
        for value in (0, -1, -2, -1.0):
            tried.times += 1
            body = json.loads(asked()) | {key: value}
            body = {name: one for name, one in body.items() if name == key or name != "max_tokens"}
            reply = await served.ask("POST", CHAT, json.dumps(body).encode())
            assert reply.status == 200, reply.body
            assert upstream.visits[-1].fields["max_tokens"] == 7
            assert key == "max_tokens" or key not in upstream.visits[-1].fields


@pytest.mark.attack("clients", "numbers as JavaScript and Python print them: 100.0, 1e2")
async def test_whole_numbers_in_any_spelling_are_read(world: World, tried: Tried) -> None:
    served, upstream = await recorded(world)
    tried.times = 4
    for text in (b"100.0", b"1e2", b"1E+2", b"100"):
        body = b'{"model":"llama3","messages":[{"role":"user","content":"x"}],"max_tokens":%b,"seed":%b}'
        assert (await served.ask("POST", CHAT, body % (text, text))).status == 200
        assert b'"max_tokens":100,"seed":100}' in upstream.visits[-1].body


@pytest.mark.attack("clients", "numbers beyond all numbers, anywhere a number may stand")
async def test_a_number_beyond_all_numbers_is_refused(world: World, tried: Tried) -> None:
    """1e999 is valid JSON and fits nowhere; 1e300 fits and makes Ollama answer 500."""
    served, upstream = await recorded(world)
    keys = ("temperature", "top_p", "frequency_penalty", "presence_penalty", "seed", "max_tokens", "n", "top_logprobs")
    members = [b'"%b":%b' % (key.encode(), number) for key in keys for number in (b"1e999", b"-1e400", b"1e300")]
    members += [
        b'"response_format":{"type":"json_schema","json_schema":{"schema":{"maximum":1e999}}}',
        b'"tools":[{"type":"function","function":{"name":"f","parameters":{"properties":{"a":{"enum":[1e999]}}}}}]',
        b'"stream_options":{"include_usage":true,"x":1e999}',
    ]
    tried.times = len(members)
    for member in members:
        body = b'{"model":"llama3","messages":[{"role":"user","content":"x"}],%b}' % member
        reply = await served.ask("POST", CHAT, body)
        assert reply.status == 400, (member, reply.body)
        assert member.decode().startswith(f'"{reply.error["param"]}')
    assert not upstream.visits


@pytest.mark.attack("clients", "an emoji cut in two, in values, keys and the model")
async def test_half_of_a_surrogate_pair_is_no_end_of_a_conversation(world: World, tried: Tried) -> None:
    """U+FFFD in a text, as Go reads it; whole pairs stay; CESU-8 is no UTF-8."""
    served, upstream = await recorded(world)
    text = rb'{"role":"user","content":"a\ud83d b\ude00 \ud83d\ude00 \\ud83d"}'
    body = rb'{"model":"llama3","user":"\udc00","messages":[%b]}' % text
    assert (await served.ask("POST", CHAT, body)).status == 200
    sent = upstream.visits[-1].fields
    assert sent["messages"][0]["content"] == "a\ufffd b\ufffd \U0001f600 \\ud83d"
    assert sent["user"] == "\ufffd"
    bad = [
        (rb'{"model":"llama3\ud83d","messages":[]}', "invalid_value"),
        (rb'{"model":"llama3","messages":[{"role":"user","content":"x","\ud83d":1}]}', "invalid_json"),
        (rb'{"model":"llama3","\ud83d":1,"messages":[]}', "invalid_json"),
        (b'{"model":"llama3","messages":[{"role":"user","content":"\xed\xa0\xbd\xed\xb8\x80"}]}', "invalid_json"),
        (rb'{"model":"llama3","messages":[{"role":"user","content":"\ud8"}]}', "invalid_json"),
    ]
    tried.times = 1 + len(bad)
    for text, code in bad:
        reply = await served.ask("POST", CHAT, text)
        assert (reply.status, reply.error["code"]) == (400, code), text


@pytest.mark.attack("clients", "histories as SDKs keep them: null contents, empty calls, arguments in any form")
@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([{"role": "assistant", "content": None}], id="null"),
        pytest.param([{"role": "assistant"}], id="no content"),
        pytest.param([{"role": "assistant", "content": None, "tool_calls": []}], id="no calls"),
        pytest.param([{"role": "assistant", "content": [], "tool_calls": [call("{}")]}], id="no parts"),
        pytest.param([{"role": "assistant", "content": None, "tool_calls": [call("")]}], id="empty arguments"),
        pytest.param([{"role": "assistant", "content": None, "tool_calls": [call(None)]}], id="null arguments"),
        pytest.param([{"role": "assistant", "content": None, "tool_calls": [call({"a": 1})]}], id="an object"),
        pytest.param([{"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}], id="a refusal"),
        pytest.param([{"role": "tool", "content": None, "tool_call_id": "c"}], id="no answer"),
        pytest.param([{"role": "tool", "content": [{"type": "text", "text": "x"}]}], id="a tool's parts"),
        pytest.param([{"role": "function", "name": "f", "content": "x"}], id="a function"),
        pytest.param([{"role": "developer", "content": "x"}], id="a developer"),
    ],
)
async def test_a_history_with_one_meaning_is_answered(world: World, messages: list[Any]) -> None:
    """The simulated Ollama refuses each of them as they are; tests/ollama tries a real one."""
    served = await simulated(world)
    reply = await served.ask("POST", CHAT, history(*messages, tools=TOOLS))
    assert reply.status == 200, reply.body


@pytest.mark.attack("clients", "messages that mean nothing: each refusal names its place, and none is in Go's words")
async def test_a_message_without_a_meaning_is_named(world: World, tried: Tried) -> None:
    served, upstream = await recorded(world)
    bad: list[tuple[Any, str]] = [
        (None, ""), ("x", ""), ([], ""), (7, ""),
        ({"content": "x"}, ".role"), ({"role": 1, "content": "x"}, ".role"),
        ({"role": "user", "content": None}, ".content"), ({"role": "user", "content": 1.5}, ".content"),
        ({"role": "user", "content": {}}, ".content"), ({"role": "user", "content": []}, ".content"),
        ({"role": "user", "content": [{"type": "file", "file": {}}]}, ".content[0].type"),
        ({"role": "user", "content": [{"type": "text", "text": None}]}, ".content[0].text"),
        ({"role": "user", "content": "x", "name": {}}, ".name"),
        ({"role": "assistant", "tool_calls": [call("{a")]}, ".tool_calls[0].function.arguments"),
        ({"role": "assistant", "tool_calls": [call("[1]")]}, ".tool_calls[0].function.arguments"),
        ({"role": "assistant", "tool_calls": [{"id": "c"}]}, ".tool_calls[0].function"),
        ({"role": "assistant", "tool_calls": {}}, ".tool_calls"),
        ({"role": "tool", "tool_call_id": 7, "content": "x"}, ".tool_call_id"),
    ]  # fmt: skip
    tried.times = len(bad)
    for message, place in bad:
        reply = await served.ask("POST", CHAT, history(message))
        assert reply.status == 400, (message, reply.body)
        assert reply.error["param"] == f"messages[1]{place}"
        assert f"messages[1]{place}" in reply.error["message"]
        assert "unmarshal" not in reply.error["message"]
    assert not upstream.visits


@pytest.mark.attack("clients", "prompts as lists: of one text, of several, of token ids")
async def test_a_prompt_may_be_a_list_of_one(world: World, tried: Tried) -> None:
    served = await simulated(world)
    tried.times = 5
    good = await served.ask("POST", COMPLETIONS, b'{"model":"llama3","prompt":["one text"],"max_tokens":2}')
    assert good.status == 200
    for prompt, word in (('["a","b"]', "several"), ("[1,2]", "token ids"), ("[[1]]", "token ids"), ("[]", "token ids")):
        reply = await served.ask("POST", COMPLETIONS, b'{"model":"llama3","prompt":%b}' % prompt.encode())
        assert (reply.status, reply.error["param"]) == (400, "prompt")
        assert word in reply.error["message"]


@pytest.mark.attack("clients", "tool_choice: in the words of OpenAI, Anthropic and Mistral, whole and as a stream")
@pytest.mark.parametrize("stream", [False, True])
async def test_a_choice_of_tools_is_kept_as_far_as_it_goes(world: World, tried: Tried, stream: bool) -> None:
    served, upstream = await recorded(world)
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NAMED]}}
    choices: list[tuple[Any, str, str | None]] = [
        ("required", "fg", "tool_choice"), ("any", "fg", "tool_choice"), ({"type": "any"}, "fg", "tool_choice"),
        ({"type": "tool", "name": "g"}, "g", "tool_choice"), ("g", "g", "tool_choice"), ({"type": "auto"}, "fg", None),
        ({"type": "none"}, "", None), ("", "fg", None), (NAMED, "g", "tool_choice"), (allowed, "g", None),
        ("auto", "fg", None), ("none", "", None), (None, "fg", None),
    ]  # fmt: skip
    tried.times = len(choices)
    for choice, names, ignored in choices:
        reply = await served.ask("POST", CHAT, asked(tools=TOOLS, tool_choice=choice, stream=stream))
        assert reply.status == 200, reply.body
        assert reply.header("x-ai-gateway-ignored") == ignored
        sent = upstream.visits[-1].fields
        assert "".join(tool["function"]["name"] for tool in sent.get("tools", [])) == names
    unknown = {"type": "function", "function": {"name": "h"}}
    reply = await served.ask("POST", CHAT, asked(tools=TOOLS, tool_choice=unknown, stream=stream))
    assert (reply.status, reply.error["param"]) == (400, "tool_choice")


@pytest.mark.attack(
    "clients", "parameters that ask for nothing are silent, those that are lost are named, others refused"
)
async def test_no_parameter_is_ignored_in_silence(world: World, tried: Tried) -> None:
    served, upstream = await recorded(world, cors={"origins": ["https://app.example"]})
    nothing = {
        "n": 1, "logit_bias": {}, "parallel_tool_calls": True, "store": False, "service_tier": "auto", "stop": None,
        "modalities": ["text"], "metadata": {"a": "b"}, "response_format": {"type": "text"}, "functions": [],
        "function_call": "none", "user": "u", "verbosity": "medium", "prediction": None, "audio": None,
    }  # fmt: skip
    reply = await served.ask("POST", CHAT, asked(**nothing), {"origin": "https://app.example"})
    assert reply.status == 200, reply.body
    assert reply.header("x-ai-gateway-ignored") is None
    assert "x-ai-gateway-ignored" in (reply.header("access-control-expose-headers") or "")
    lost = {"logit_bias": {"1": 1}, "parallel_tool_calls": False, "store": True, "options": {"num_ctx": 9}, "top_k": 3}
    reply = await served.ask("POST", CHAT, asked(**lost))
    assert reply.status == 200
    named = (reply.header("x-ai-gateway-ignored") or "").split(", ")
    assert set(named) == set(lost)
    assert not set(lost) & set(upstream.visits[-1].fields)
    refused: list[tuple[str, dict[str, Any], str]] = [
        (CHAT, {"functions": [{"name": "f"}]}, "functions"), (CHAT, {"n": 2}, "n"),
        (CHAT, {"function_call": {"name": "f"}}, "function_call"),
        (CHAT, {"response_format": {"type": "xml"}}, "response_format.type"),
        (CHAT, {"modalities": ["audio"]}, "modalities"), (CHAT, {"stream": "true"}, "stream"),
        (CHAT, {"web_search_options": {}}, "web_search_options"), (CHAT, {"temperature": "0.5"}, "temperature"),
        (COMPLETIONS, {"echo": True, "prompt": "x"}, "echo"), (COMPLETIONS, {"best_of": 2, "prompt": "x"}, "best_of"),
    ]  # fmt: skip
    tried.times = 2 + len(refused)
    for path, more, param in refused:
        reply = await served.ask("POST", path, asked(**more))
        assert (reply.status, reply.error["param"]) == (400, param)


@pytest.mark.attack("clients", "the same through a process of its own")
async def test_a_real_process_says_the_same(world: World, tried: Tried) -> None:
    simulator = await world.simulator()
    async with serving(world.folder, config(simulator.urls)) as command:
        await command.ready()
        reply = await command.ask("POST", CHAT, asked(tools=TOOLS, tool_choice="required", max_tokens=-1))
        assert (reply.status, reply.header("x-ai-gateway-ignored")) == (200, "tool_choice")
        reply = await command.ask("POST", CHAT, history({"role": "assistant", "content": None}))
        assert reply.status == 200
        reply = await command.ask("POST", CHAT, asked(temperature=None, stop=[""], user="\ud83d"))
        assert reply.status == 200, reply.body
        tried.times = 3
