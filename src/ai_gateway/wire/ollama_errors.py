"""What Ollama's errors mean: a code, the field that is wrong, and a sentence that OpenAI's clients understand.

Ollama sends one message, without `param`; for a prompt that is too long, it is llama-server's JSON as text.
The rows match sentences of ollama/ollama 0.24 (openai/openai.go, server/routes.go, llm/server.go, runner/) and of
llama.cpp's server. The client gets a sentence that no row matches unchanged.
"""

import re
from typing import Final

import msgspec

from ai_gateway.errors import InvalidRequest

MAX_MESSAGE: Final = 2000  # characters of Ollama's message that a client gets

_OVERFLOWS: Final = re.compile(
    r"exceed_context_size|(?:exceed(?:s|ed)?|longer than) (?:(?:the|its|model's|available|maximum|max) )*context|"
    r"maximum context (?:length|size|window)|context (?:length|size|window) (?:is |was )?exceeded|"
    r"prompt (?:is )?too long|is too large to process",
    re.IGNORECASE,
)
# How Ollama, llama-server and others state the limit of tokens, and how many the prompt has.
_MOST: Final = re.compile(
    r'"n_ctx"\s*:\s*(\d+)|(?:maximum |available )?context (?:length|size|window)(?: of| is)?[ (:=]+(\d+)', re.IGNORECASE
)
_ASKED: Final = re.compile(r'"n_prompt_tokens"\s*:\s*(\d+)|(?:request|prompt|input)[^.]{0,20}?\((\d+) tokens\)', re.I)

# Go's decoder: the value's type is not the field's. The first group is the value's type.
_GO_TYPE: Final = re.compile(r"json: cannot unmarshal (\S+)(?: \S+)? into Go struct field \w*\.([\w.$]+) of type (\S+)")
_GO_WORDS: Final = (
    ("[]", "a list"), ("string", "a string"), ("bool", "true or false"), ("int", "a whole number"),
    ("float", "a number"),
)  # fmt: skip


class Row(msgspec.Struct, frozen=True):
    """A sentence of Ollama's: a pattern, and the field that it is about (None: the field with the prompt).

    The client gets `sentence` instead, if Ollama's own says too little.
    """

    words: re.Pattern[str]
    param: str | None
    code: str
    sentence: str | None


def _row(words: str, param: str | None, code: str = "upstream_rejected", sentence: str | None = None) -> Row:
    return Row(re.compile(words), param, code, sentence)


_ROWS: Final = (
    _row("does not support tools", "tools", "model_lacks_capability"),
    _row("does not support thinking", "reasoning_effort", "model_lacks_capability"),
    _row("does not support insert", "suffix", "model_lacks_capability"),
    _row("server does not support embeddings", "model", "model_lacks_capability", "The model cannot make embeddings."),
    _row("does not support|support embeddings|missing data required for image", "model", "model_lacks_capability"),
    _row("invalid reasoning value|invalid think value", "reasoning_effort"),
    _row("top_logprobs must be", "top_logprobs"),
    _row("for 'stop' field|option \"stop\"", "stop"),
    _row("'encoding_format'", "encoding_format"),
    _row("invalid (?:JSON schema in )?format|(?:parse|compile) grammar", "response_format"),
    _row("invalid model name|model is required|remote model", "model"),
    _row("invalid image", None, "invalid_value", "`messages` have an image that is not valid base64."),
    _row("invalid input_audio", None, "invalid_value", "`messages` have audio that is not valid base64."),
    _row("invalid tool call arguments|invalid message|image URLs|one image", None),
    _row("can't find closing '.' symbol", "tools"),
    _row("invalid input", None),
)  # fmt: skip
# An error of the request that Ollama answers with 500.
_SCHEMA: Final = re.compile(r'invalid JSON schema in format|expected "json" or a valid JSON Schema')


def client_error(status: int, message: str, text_field: str) -> InvalidRequest:
    """The error that a client gets for a 4xx of Ollama's. `text_field` holds the text of the call."""
    text = message.strip()[:MAX_MESSAGE] or "Ollama refused the request."
    if _OVERFLOWS.search(message) is not None:
        return overflow(message, text_field)
    if (wrong := _GO_TYPE.search(message)) is not None:
        path = wrong[2]
        wanted = next((words for start, words in _GO_WORDS if wrong[3].startswith(start)), "an object")
        sentence = f"`{path}` must be {wanted}: Ollama cannot read {wrong[1]} there."
        return InvalidRequest(sentence, code="invalid_value", param=path, status=status)
    for row in _ROWS:
        if row.words.search(message) is not None:
            text = row.sentence or text
            return InvalidRequest(text, code=row.code, param=row.param or text_field, status=status)
    return InvalidRequest(text, code="upstream_rejected", status=status)


def hidden_client_error(message: str, text_field: str) -> InvalidRequest | None:
    """The error for a 500 that the request itself caused: no other endpoint would answer it."""
    if _OVERFLOWS.search(message) is not None:
        return overflow(message, text_field)
    if _SCHEMA.search(message) is None:
        return None
    return InvalidRequest(
        "`response_format.json_schema.schema` is not a JSON Schema that Ollama can turn into a grammar.",
        code="invalid_value",
        param="response_format.json_schema.schema",
    )


def overflow(message: str, text_field: str) -> InvalidRequest:
    """The error for a prompt longer than the context, in OpenAI's words, which LiteLLM and pydantic-ai match.

    LangChain matches the code in the text of OpenAI's exception, which since 3.x is the message alone.
    """
    most, asked = (_first(pattern.search(message)) for pattern in (_MOST, _ASKED))
    if most is None:
        asked = f", which resulted in {asked} tokens" if asked else ""
        sentence = f"This model's maximum context length is exceeded by your {text_field}{asked}."
    else:
        asked = f"resulted in {asked} tokens" if asked else "are longer"
        sentence = f"This model's maximum context length is {most} tokens. However, your {text_field} {asked}."
    sentence += f" Please reduce the length of the {text_field} (context_length_exceeded)."
    return InvalidRequest(sentence, code="context_length_exceeded", param=text_field)


def _first(found: re.Match[str] | None) -> str | None:
    return None if found is None else next((group for group in found.groups() if group), None)
