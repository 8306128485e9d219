"""Chat answers that come whole."""

import json

import httpx
from tests.ollama.talk import CALLS_WEATHER, WEATHER_TOOL, ask, chat, json_schema


async def test_an_answer_has_openais_shape(client: httpx.AsyncClient) -> None:
    answer = await chat(client, ask("chat", max_tokens=10, temperature=0))
    assert answer["object"] == "chat.completion"
    assert answer["id"].startswith("chatcmpl-")
    assert isinstance(answer["created"], int)
    (choice,) = answer["choices"]
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"]
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens"] > 0


async def test_an_answer_that_nothing_limits_ends_by_itself(client: httpx.AsyncClient) -> None:
    answer = await chat(client, ask("chat", seed=3))
    assert answer["choices"][0]["finish_reason"] == "stop"


async def test_the_model_of_an_answer_is_the_id_that_was_asked(client: httpx.AsyncClient) -> None:
    for model in ("chat", "assistant"):
        assert (await chat(client, ask(model, max_tokens=1)))["model"] == model


async def test_every_answer_has_an_id_of_its_own(client: httpx.AsyncClient) -> None:
    ids = [(await chat(client, ask("chat", max_tokens=1)))["id"] for _ in range(60)]
    assert len(set(ids)) == len(ids)


async def test_every_answer_names_its_request(client: httpx.AsyncClient) -> None:
    body = ask("chat", max_tokens=1)
    own = await client.post("/v1/chat/completions", json=body, headers={"x-request-id": "mine-1"})
    assert own.headers["x-request-id"] == "mine-1"
    given = [(await client.post("/v1/chat/completions", json=body)).headers["x-request-id"] for _ in range(2)]
    assert given[0] != given[1]


async def test_json_mode_gives_json(client: httpx.AsyncClient) -> None:
    body = ask("chat", seed=3, max_tokens=400, response_format={"type": "json_object"})
    answer = await chat(client, body)
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert isinstance(json.loads(answer["choices"][0]["message"]["content"]), dict)


async def test_a_json_schema_gives_json_of_that_shape(client: httpx.AsyncClient) -> None:
    shape = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"]}
    answer = await chat(client, ask("chat", response_format=json_schema(shape)))
    assert json.loads(answer["choices"][0]["message"]["content"])["colour"] in ("red", "blue")


async def test_a_tool_call_arrives_whole(client: httpx.AsyncClient) -> None:
    body = ask("chat", "call get_weather", tools=[WEATHER_TOOL], response_format=json_schema(CALLS_WEATHER))
    (choice,) = (await chat(client, body))["choices"]
    assert choice["finish_reason"] == "tool_calls"
    (call,) = choice["message"]["tool_calls"]
    assert call["type"] == "function"
    assert call["id"]
    assert call["function"]["name"] == "get_weather"
    assert set(json.loads(call["function"]["arguments"])) == {"city"}


async def test_a_tools_answer_is_understood_in_the_next_turn(client: httpx.AsyncClient) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Bern"}'}}
    messages = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "light and summer"},
    ]
    answer = await chat(client, {"model": "chat", "messages": messages, "tools": [WEATHER_TOOL], "max_tokens": 3})
    assert answer["choices"][0]["message"]["role"] == "assistant"


async def test_tool_choice_none_means_no_tools(client: httpx.AsyncClient) -> None:
    body = ask("without-tools", tools=[WEATHER_TOOL], tool_choice="none", max_tokens=3, temperature=0)
    assert (await chat(client, body))["choices"][0]["message"]["content"]


async def test_max_completion_tokens_limits_the_answer(client: httpx.AsyncClient) -> None:
    answer = await chat(client, ask("chat", max_completion_tokens=3, temperature=0))
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 3


async def test_the_model_reads_what_a_developer_says(client: httpx.AsyncClient) -> None:
    """Ollama knows no such role: its templates would drop the message in silence."""

    async def prompt_tokens(role: str) -> int:
        said = {"role": role, "content": "bread and water for the mountain house " * 5}
        messages = [said, {"role": "user", "content": "hello"}]
        tokens: int = (await chat(client, {"model": "chat", "messages": messages, "max_tokens": 1}))["usage"][
            "prompt_tokens"
        ]
        return tokens

    assert await prompt_tokens("developer") == await prompt_tokens("system")


async def test_log_probabilities_pass_untouched(client: httpx.AsyncClient) -> None:
    body = ask("chat", max_tokens=2, temperature=0, logprobs=True, top_logprobs=2)
    items = (await chat(client, body))["choices"][0]["logprobs"]["content"]
    assert len(items) == 2
    assert {"token", "logprob", "bytes", "top_logprobs"} <= set(items[0])


async def test_plain_completions_are_passed_through(client: httpx.AsyncClient) -> None:
    body = {"model": "assistant", "prompt": "hello world", "max_tokens": 5, "temperature": 0}
    reply = await client.post("/v1/completions", json=body)
    assert reply.status_code == 200, reply.text
    answer = reply.json()
    assert answer["object"] == "text_completion"
    assert answer["id"].startswith("cmpl-")
    assert answer["model"] == "assistant"
    assert answer["choices"][0]["text"]
