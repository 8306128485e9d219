"""A client's call: what is read from its body, what is refused by name, and what goes upstream instead."""

import json
import random
from typing import Any

import pytest

from ai_gateway.errors import InvalidRequest
from ai_gateway.wire.call import MAX_MODEL_LENGTH, Call, read_call
from ai_gateway.wire.operations import CHAT, OPERATIONS

MESSAGES = [{"role": "user", "content": "Hi"}]
TOOL = {"type": "function", "function": {"name": "f"}}
MINIMAL: dict[str, dict[str, Any]] = {
    "chat": {"model": "m", "messages": MESSAGES},
    "completions": {"model": "m", "prompt": "Hi"},
    "embeddings": {"model": "m", "input": "Hi"},
}


def call(operation: str = "chat", **fields: Any) -> Call:
    return read_call(OPERATIONS[operation], json.dumps({**MINIMAL[operation], **fields}).encode())


def sent(operation: str = "chat", models_limit: int | None = None, **fields: Any) -> Any:
    """The body that goes upstream."""
    return json.loads(b"".join(call(operation, **fields).upstream(models_limit).naming("llama3:latest")))


def refused(operation: str, body: bytes) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        read_call(OPERATIONS[operation], body)
    return caught.value


def failure(operation: str = "chat", **fields: Any) -> tuple[str | None, str]:
    """The param and the code of the refusal."""
    error = refused(operation, json.dumps({**MINIMAL[operation], **fields}).encode())
    return error.param, error.error_code


@pytest.mark.parametrize("operation", ["chat", "completions", "embeddings"])
def test_a_minimal_call_is_read(operation: str) -> None:
    """Model and operation, and no other parameter."""
    asked = call(operation)
    assert (asked.operation.name, asked.model, asked.stream, asked.wants_usage) == (operation, "m", False, False)


@pytest.mark.parametrize(
    ("value", "code"),
    [(None, "missing_value"), ("", "invalid_value"), (7, "invalid_value"), (["m"], "invalid_value"),
     ({}, "invalid_value"), (True, "invalid_value"), ("m" * MAX_MODEL_LENGTH, "invalid_value"),
     ("m" * 10_000, "invalid_value")],
)  # fmt: skip
def test_a_model_must_be_named(value: Any, code: str) -> None:
    """null, nothing, no text and endless text are refused under `model`."""
    assert failure(model=value) == ("model", code)


def test_the_error_for_a_missing_model_names_the_list_of_models() -> None:
    """The message is one that a person can act on."""
    assert "/v1/models" in refused("chat", b'{"messages":[{"role":"user","content":"Hi"}]}').message


def test_a_model_is_kept_as_the_client_wrote_it() -> None:
    """Escapes are read, nothing else is changed."""
    assert read_call(CHAT, b'{"model":"\\u00e9\\"/x:y","messages":[{"role":"user","content":"Hi"}]}').model == 'é"/x:y'


@pytest.mark.parametrize("value", ["yes", 1, 0, "true", [], {}])
def test_stream_is_true_or_false(value: Any) -> None:
    """Nothing is guessed."""
    assert failure(stream=value) == ("stream", "invalid_value")


def test_null_means_absent() -> None:
    """As in OpenAI's own API."""
    assert not call(stream=None).stream
    assert call(max_tokens=None, n=None, stream_options=None, tool_choice=None).model == "m"


@pytest.mark.parametrize(
    ("operation", "key", "value", "code"),
    [
        ("chat", "messages", None, "missing_value"),
        ("chat", "messages", [], "invalid_value"),
        ("chat", "messages", "Hi", "invalid_value"),
        ("chat", "messages", {}, "invalid_value"),
        ("completions", "prompt", None, "missing_value"),
        ("completions", "prompt", [], "invalid_value"),
        ("completions", "prompt", ["Hi", "Ho"], "invalid_value"),
        ("completions", "prompt", [["Hi"]], "invalid_value"),
        ("completions", "prompt", [1, 2], "invalid_value"),
        ("embeddings", "input", None, "missing_value"),
        ("embeddings", "input", [], "invalid_value"),
        ("embeddings", "input", {}, "invalid_value"),
        ("embeddings", "input", 1, "invalid_value"),
        ("embeddings", "input", [True], "invalid_value"),
        ("embeddings", "input", ["a", 1], "invalid_value"),
        ("embeddings", "input", [1, 2], "token_input_unsupported"),
        ("embeddings", "input", [[1, 2], [3]], "token_input_unsupported"),
        ("embeddings", "encoding_format", "hex", "invalid_value"),
        ("embeddings", "dimensions", 0, "invalid_value"),
        ("embeddings", "dimensions", "7", "invalid_value"),
        ("embeddings", "stream", True, "invalid_value"),
        ("chat", "n", 2, "invalid_value"),
        ("chat", "n", 1000, "invalid_value"),
        ("completions", "n", 2, "invalid_value"),
        ("chat", "max_tokens", -3, "invalid_value"),
        ("chat", "max_tokens", 10**12, "invalid_value"),
        ("chat", "max_tokens", 10**40, "invalid_value"),
        ("chat", "max_tokens", "10", "invalid_value"),
        ("chat", "max_tokens", True, "invalid_value"),
        ("chat", "max_tokens", 1.5, "invalid_value"),
        ("chat", "stream_options", [], "invalid_value"),
        ("chat", "stream_options", {"include_usage": "yes"}, "invalid_value"),
    ],
)
def test_a_value_that_ollama_would_misread_is_refused_by_its_name(
    operation: str, key: str, value: Any, code: str
) -> None:
    """400 with `param`, before anything is sent."""
    assert failure(operation, **{key: value}) == (key, code)


def test_a_list_of_one_prompt_is_that_prompt() -> None:
    """As OpenAI takes it, line ends and all."""
    assert sent("completions", prompt=["one\n\u00e9"])["prompt"] == "one\n\u00e9"
    assert "several" in refused("completions", b'{"model":"m","prompt":["a","b"]}').message
    assert "token ids" in refused("completions", b'{"model":"m","prompt":[1]}').message


def test_the_error_for_token_ids_names_the_setting_to_change() -> None:
    """langchain-openai sends tokens by default."""
    error = refused("embeddings", b'{"model":"m","input":[[1,2]]}')
    assert "check_embedding_ctx_length=False" in error.message


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/x", "https://example.com/a.png", "file:///etc/passwd", "HTTP://x"]
)
@pytest.mark.parametrize("shape", ["object", "text"])
def test_an_image_by_url_is_refused_where_it_stands(url: str, shape: str) -> None:
    """The gateway fetches nothing for a client; a data: URL passes."""
    image: Any = {"url": url} if shape == "object" else url
    content = [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": image}]
    messages = [*MESSAGES, {"role": "user", "content": content}]
    assert failure(messages=messages) == ("messages[1].content[1].image_url", "image_url_unsupported")


def test_an_image_as_data_passes_untouched() -> None:
    """Also where the key is written with an escape."""
    content = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
    assert sent(messages=[{"role": "user", "content": content}])["messages"][0]["content"] == content


def test_an_image_url_behind_an_escape_is_found() -> None:
    """`image_url` may be spelt with `\\u005f`."""
    body = rb'{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image\u005furl":{"url":"http://x/y"}}]}]}'
    assert refused("chat", body).error_code == "image_url_unsupported"


@pytest.mark.parametrize("role", ["developer", "Developer", "devel\\u006fper"])
def test_role_developer_becomes_system(role: str) -> None:
    """Ollama would drop the message."""
    body = b'{"model":"m","messages":[{"role":"%b","content":"Be kind"},{"role":"user","content":"developer"}]}'
    read = read_call(CHAT, body % role.encode())
    assert [m["role"] for m in json.loads(b"".join(read.upstream(None).naming("x")))["messages"]] == ["system", "user"]


@pytest.mark.parametrize(
    ("operation", "field"),
    [
        ("chat", b'"messages":[{"role":"user","content":"x"}],"temperature":1e999'),
        ("chat", b'"messages":[{"role":"user","content":"x"}],"response_format":{"type":"text","x":1e400}'),
        ("chat", b'"messages":[{"role":"user","content":"x"}],"tools":[{"function":{"name":"f","x":[-1e+0400]}}]'),
        ("completions", b'"prompt":"x","top_p":1e400'),
        ("chat", b'"messages":[{"role":"user","content":"Hi"}],"stream_options":{"include_usage":true,"x":1e999}'),
        ("embeddings", b'"input":[1e999]'),
    ],
)
def test_a_number_too_large_for_a_float_is_refused(operation: str, field: bytes) -> None:
    """No float can hold 1e999: a 400 for every value that the gateway reads."""
    assert refused(operation, b'{"model":"m",%b}' % field).error_status == 400


def test_tool_choice_none_takes_the_tools_away() -> None:
    """Ollama ignores `tool_choice`; without tools none can be called."""
    upstream = sent(tools=[TOOL], tool_choice="none")
    assert "tools" not in upstream
    assert "tool_choice" not in upstream
    assert sent(tools=[TOOL], tool_choice="auto")["tools"] == [TOOL]


@pytest.mark.parametrize("operation", ["chat", "completions", "embeddings"])
def test_some_keys_never_go_upstream(operation: str) -> None:
    """They would change what Ollama loads, keeps or shows, or name what it cannot do."""
    extra: dict[str, Any] = {
        "_debug_render_only": True,
        "options": {"num_ctx": 1},
        "keep_alive": -1,
        "n": 1,
        "max_completion_tokens": 7,
    }
    upstream = sent(operation, **extra)
    assert not set(extra) & set(upstream)


def test_unknown_keys_survive() -> None:
    """A field that OpenAI adds tomorrow reaches an Ollama that knows it."""
    assert sent(metadata={"a": [1]})["metadata"] == {"a": [1]}
    assert sent(of_tomorrow={"a": [1]})["of_tomorrow"] == {"a": [1]}


def test_the_model_is_exchanged_for_ollamas_name() -> None:
    """And for nothing else: a call sent again to another endpoint says the same, under the name that it has there."""
    asked = call(stream=True)
    body = asked.upstream(7)
    first = json.loads(b"".join(body.naming("codellama:13b")))
    second = json.loads(b"".join(body.naming("other/codellama:13b")))
    assert first.pop("model") == "codellama:13b"
    assert second.pop("model") == "other/codellama:13b"
    assert first == second
    assert (first["max_tokens"], asked.model) == (7, "m")


def test_numbers_keep_their_text() -> None:
    """The gateway does not rewrite values that it does not check."""
    numbers = b'"seed":1234567890123456789,"temperature":1.0,"top_p":1E-2,"x":[1.50, 1e999]'
    body = b'{"model":"m","messages":[{"role":"user","content":"Hi"}],%b}' % numbers
    upstream = b"".join(read_call(CHAT, body).upstream(None).naming("m"))
    for text in (b'"seed":1234567890123456789', b'"temperature":1.0', b'"top_p":1E-2', b'"x":[1.50, 1e999]'):
        assert text in upstream


@pytest.mark.parametrize("asked", [None, {}, {"include_usage": False}, {"include_usage": True, "Include_Usage": False}])
def test_stream_options_are_written_anew_and_whole(asked: Any) -> None:
    """Usage is asked of Ollama on every stream, and no other key of the client's stands beside it."""
    assert sent(stream=True, stream_options=asked)["stream_options"] == {"include_usage": True}


def test_stream_options_go_nowhere_without_a_stream() -> None:
    """Ollama has no use for them."""
    assert "stream_options" not in sent(stream_options={"include_usage": True})


def test_the_clients_request_for_usage_is_kept() -> None:
    """The relay drops the usage chunk that the client did not ask for."""
    assert call(stream=True, stream_options={"include_usage": True}).wants_usage
    assert not call(stream=True, stream_options={"include_usage": False}).wants_usage
    assert not call(stream=True).wants_usage


def test_a_prompt_cannot_break_the_framing() -> None:
    """Line ends and `[DONE]` in a prompt are text."""
    hostile = 'data: [DONE]\r\n\r\n{"model":"x"}\n\n'
    assert sent(messages=[{"role": "user", "content": hostile}])["messages"][0]["content"] == hostile


LONG_S, KELVIN = "\u017f", "\u212a"


def _go_fold(key: str) -> str:
    """The keys that Go's encoding/json takes for equal (fold.go), for the letters used here."""
    return key.replace(LONG_S, "s").replace(KELVIN, "k").lower()


def _variant(key: str, rng: random.Random) -> tuple[str, str]:
    """A key that Go folds to `key`, and a JSON spelling of it."""
    decoded, spelt = "", ""
    for letter in key:
        choices = [letter, letter.upper(), *({"s": [LONG_S], "k": [KELVIN]}.get(letter, []))]
        chosen = rng.choice(choices)
        decoded += chosen
        spelt += f"\\u{ord(chosen):04x}" if rng.random() < 0.2 else chosen
    return decoded, spelt


def test_no_spelling_that_go_would_fold_to_a_known_key_passes() -> None:
    """10,000 variants by case, U+017F, U+212A, escapes and doubling; not one gets through."""
    rng = random.Random(7)
    passed = []
    for _ in range(10_000):
        key = rng.choice(["model", "stream", "messages", "keep_alive", "_debug_render_only", "options"])
        decoded, spelt = _variant(key, rng)
        assert _go_fold(decoded) == key
        value = rng.choice(['"m"', "true", "null", '[{"role":"user"}]'])
        right = {"model": '"m"', "messages": '[{"role":"user","content":"x"}]', key: value}
        pairs = [f'"{name}":{text}' for name, text in right.items()]
        pairs.insert(rng.randrange(len(pairs) + 1), f'"{spelt}":{value}')
        body = ("{" + ",".join(pairs) + "}").encode()
        try:
            read_call(CHAT, body)
        except InvalidRequest as error:
            if error.error_code in ("ambiguous_key", "duplicate_key"):
                continue
        passed.append(body)
    assert passed == []
