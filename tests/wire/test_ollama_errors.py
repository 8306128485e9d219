"""What Ollama's errors mean: a code, the wrong field, and phrases that OpenAI's clients match."""

import pytest

from ai_gateway.wire.ollama_errors import client_error, hidden_client_error
from ai_gateway.wire.operations import CHAT, OPERATIONS

# As Ollama and llama-server say it, with the numbers that can be read in it.
OVERFLOWS = [
    ("the input length exceeds the context length", None, None),
    ("input exceeds maximum context length and cannot be truncated further", None, None),
    ("the prompt is longer than the context length currently available", None, None),
    ("prompt is too long", None, None),
    ("input (812 tokens) is too large to process. increase the physical batch size", None, 812),
    ("request (6001 tokens) exceeds the available context size (512 tokens), try increasing it", 512, 6001),
    ("the request exceeds the available context size. try increasing the context size", None, None),
    ("prompt too long; exceeded max context length by 20 tokens", None, None),
    ("context length exceeded", None, None),
    ("the prompt exceeds the model's maximum context window of 4096 tokens", 4096, None),
    (
        '{"error":{"code":400,"message":"the request exceeds the available context size, try increasing it",'
        '"type":"exceed_context_size_error","n_prompt_tokens":6001,"n_ctx":512}}',
        512,
        6001,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("message", "most", "asked"), OVERFLOWS)
@pytest.mark.parametrize(
    ("operation", "field"), [("chat", "messages"), ("completions", "prompt"), ("embeddings", "input")]
)
def test_a_prompt_longer_than_the_context_has_openais_message(
    message: str, most: int | None, asked: int | None, operation: str, field: str
) -> None:
    """LiteLLM, LangChain and pydantic-ai match the code, or one of these phrases."""
    error = client_error(400, message, OPERATIONS[operation].text_field)
    assert (error.error_status, error.error_code, error.param) == (400, "context_length_exceeded", field)
    assert error.message.startswith("This model's maximum context length is ")
    assert error.message.endswith(f"Please reduce the length of the {field} (context_length_exceeded).")
    for number in filter(None, (most, asked)):
        assert f"{number} tokens" in error.message
    hidden = hidden_client_error(message, OPERATIONS[operation].text_field)
    assert hidden is not None
    assert hidden.error_code == "context_length_exceeded"


@pytest.mark.parametrize(
    ("message", "code", "param"),
    [
        ("registry.ollama.ai/library/x:latest does not support tools", "model_lacks_capability", "tools"),
        ('"x" does not support thinking', "model_lacks_capability", "reasoning_effort"),
        ("registry.ollama.ai/library/x:latest does not support insert", "model_lacks_capability", "suffix"),
        ('"x" does not support chat', "model_lacks_capability", "model"),
        ("This server does not support embeddings. Start it with `--embeddings`", "model_lacks_capability", "model"),
        ("invalid reasoning value: 'x' (must be \"high\", ...)", "upstream_rejected", "reasoning_effort"),
        ("top_logprobs must be between 0 and 20", "upstream_rejected", "top_logprobs"),
        ("invalid tool call arguments", "upstream_rejected", "messages"),
        ("invalid message content type: <nil>", "upstream_rejected", "messages"),
        ("invalid image input", "invalid_value", "messages"),
        ("invalid type for 'stop' field: float64", "upstream_rejected", "stop"),
        ("Value looks like object, but can't find closing '}' symbol", "upstream_rejected", "tools"),
        ("invalid input type", "upstream_rejected", "messages"),
        ("something unknown", "upstream_rejected", None),
        ("", "upstream_rejected", None),
    ],
)
def test_ollamas_message_names_a_field(message: str, code: str, param: str | None) -> None:
    """Which they do not name themselves."""
    error = client_error(400, message, CHAT.text_field)
    assert (error.error_code, error.param) == (code, param)
    assert error.message


@pytest.mark.parametrize(
    ("message", "param", "words"),
    [
        ("cannot unmarshal number 3.0 into Go struct field ChatCompletionRequest.max_tokens of type int", "max_tokens",
         "a whole number"),
        ("cannot unmarshal object into Go struct field .messages.tool_calls.function.arguments of type string",
         "messages.tool_calls.function.arguments", "a string"),
        ("cannot unmarshal string into Go struct field X.tools.function.parameters.properties.enum "
         "of type []interface {}", "tools.function.parameters.properties.enum", "a list"),
        ("cannot unmarshal bool into Go struct field X.tools.function.parameters.properties of "
         "type api.ToolProperty", "tools.function.parameters.properties", "an object"),
    ],
)  # fmt: skip
def test_gos_type_errors_get_a_plain_message(message: str, param: str, words: str) -> None:
    """What the gateway does not read itself, in a tool's schema above all."""
    error = client_error(400, f"json: {message}", CHAT.text_field)
    assert (error.error_code, error.param) == ("invalid_value", param)
    assert words in error.message
    assert "Go" not in error.message.split()


def test_a_schema_that_ollama_cannot_use_is_an_error_of_the_request() -> None:
    """It answers 500, and so would every other endpoint."""
    for message in (
        "invalid JSON schema in format",
        'invalid format: "[1]"; expected "json" or a valid JSON Schema object',
    ):
        error = hidden_client_error(message, CHAT.text_field)
        assert error is not None
        assert (error.error_status, error.param) == (400, "response_format.json_schema.schema")
    assert hidden_client_error("model runner has unexpectedly stopped", CHAT.text_field) is None


def test_a_long_message_is_cut() -> None:
    """With any text from an endpoint."""
    assert len(client_error(400, "x" * 100_000, CHAT.text_field).message) == 2000
