"""What becomes of each parameter of OpenAI's, and of those that Ollama's clients send beside them: one table.

docs/api-endpoints.md has it too, written by `make generate`. A parameter that is not here goes to Ollama as it came.
"""

from typing import Final, Literal

import msgspec

from ai_gateway.wire import reading, tools
from ai_gateway.wire.json_guard import Fields
from ai_gateway.wire.reading import MAX_TOKENS, Reader, lost_unless, refused_unless, whole

Operation = Literal["chat", "completions", "embeddings"]

# `passed`: Ollama gets it as it came. `mended`: it gets what it understands instead. `ignored`: it gets nothing, and
# a header of the answer says so. `silent`: nobody here has a use for it. `refused`: 400.
Fate = Literal["passed", "mended", "ignored", "silent", "refused"]


class Parameter(msgspec.Struct, frozen=True):
    """One row. `what` is a clause for the API page: what it may be, or what becomes of it."""

    name: str
    operations: tuple[Operation, ...]
    fate: Fate
    what: str
    read: Reader | None = None


def read_parameters(operation: Operation, fields: Fields) -> tuple[str, ...]:
    """Checks and mends the parameters of a call in place; returns those that are ignored, for the header."""
    lost = []
    for parameter in _TABLE_OF[operation]:
        name = parameter.name
        if name in fields:
            if bytes(memoryview(fields[name])[:5]) == b"null":
                del fields[name]
            elif parameter.read is not None and parameter.read(fields, name):
                lost.append(name)
                fields.pop(name, None)
    return tuple(lost)


_CHAT: Final = ("chat",)
_TEXT: Final = ("completions",)
_VECTORS: Final = ("embeddings",)
_WRITING: Final = ("chat", "completions")
_ALL: Final = ("chat", "completions", "embeddings")

_MODEL: Final = "Ollama's name of it, such as `codellama:13b`; the answer has the client's id"
_USAGE: Final = '`{"include_usage": true}` for a stream, else nothing; the client sees `usage` only if it asked'
_LIMIT: Final = (
    "0, -1 and -2 mean no limit, and `100.0` is 100; without a limit, `max_tokens` of the model in the config"
)
_STOP: Final = "a string or a list of strings, also more than four; empty ones and null are left out"
_FORMAT: Final = "type `text`, `json_object` or `json_schema`; of the last, Ollama reads `schema` alone"
_CHOICE: Final = (
    "`auto` is what Ollama does, `none` takes the tools away, `any` is `required`. For a named function or "
    "`allowed_tools` only those tools are sent; one that is not in `tools` is refused. That the model *must* call "
    "cannot be kept"
)
_HINT: Final = "means something to OpenAI's own service alone"
_NATIVE: Final = "an option of Ollama's own API, which its `/v1` does not read"
_ONE: Final = "above 1: Ollama writes one answer per request"

TABLE: Final = (
    Parameter("model", _ALL, "mended", _MODEL),
    Parameter("messages", _CHAT, "mended", "see [Messages](#messages)"),
    Parameter("prompt", _TEXT, "mended", "a string, or a list of one; several, and token ids, are refused"),
    Parameter("input", _VECTORS, "passed", "a string or a list of strings; token ids are refused"),
    Parameter("stream", _ALL, "passed", "`true` or `false`; for embeddings `true` is refused"),
    Parameter("stream_options", _WRITING, "mended", _USAGE),
    Parameter("max_tokens", _WRITING, "mended", _LIMIT, reading.limit),
    Parameter("max_completion_tokens", _WRITING, "mended", "`max_tokens`, unless that is given", reading.newer_limit),
    Parameter("temperature", _WRITING, "passed", "a number", reading.a_number),
    Parameter("top_p", _WRITING, "passed", "a number", reading.a_number),
    Parameter("frequency_penalty", _WRITING, "passed", "a number", reading.a_number),
    Parameter("presence_penalty", _WRITING, "passed", "a number", reading.a_number),
    Parameter("seed", _WRITING, "passed", "a whole number of 64 bits", whole(-(2**63), 2**63 - 1)),
    Parameter("stop", _WRITING, "mended", _STOP, reading.stop),
    Parameter("response_format", _CHAT, "passed", _FORMAT, reading.response_format),
    Parameter("tools", _CHAT, "passed", "functions; tools of another type are refused", tools.check_tools),
    Parameter("tool_choice", _CHAT, "ignored", _CHOICE, tools.choose_tools),
    Parameter("parallel_tool_calls", _CHAT, "ignored", "`true` is silent", lost_unless(True)),
    Parameter("reasoning_effort", _CHAT, "mended", "`minimal` is sent as `low`, `xhigh` as `max`", reading.effort),
    Parameter("reasoning", _CHAT, "mended", 'as `{"effort": ...}`, by the same rule', reading.reasoning),
    Parameter("verbosity", _CHAT, "ignored", "`medium` is silent", lost_unless("medium")),
    Parameter("logprobs", _CHAT, "passed", "`true` or `false`", reading.a_flag),
    Parameter("top_logprobs", _CHAT, "passed", "0 to 20", whole(0, 20)),
    Parameter("logprobs", _TEXT, "ignored", "0 is silent; Ollama's have none to give", reading.completion_logprobs),
    Parameter("logit_bias", _WRITING, "ignored", "`{}` is silent", reading.logit_bias),
    Parameter("suffix", _TEXT, "passed", "a string, for models that can `insert`", reading.a_text),
    Parameter("n", _WRITING, "refused", _ONE, reading.one),
    Parameter("best_of", _TEXT, "refused", _ONE, refused_unless("Ollama writes one answer per request.", 1, 0)),
    Parameter("echo", _TEXT, "refused", "`true`", refused_unless("Ollama does not repeat the prompt.", False)),
    Parameter("functions", _CHAT, "refused", "use `tools`", refused_unless("send the functions as `tools`.", [])),
    Parameter(
        "function_call",
        _CHAT,
        "refused",
        "all but `none` and `auto`; use `tool_choice`",
        refused_unless("use `tools` and `tool_choice`.", "none", "auto"),
    ),
    Parameter(
        "modalities", _CHAT, "refused", 'all but `["text"]`', refused_unless("Ollama writes text.", ["text"], [])
    ),
    Parameter("audio", _CHAT, "ignored", "how speech should sound; there is none", lost_unless()),
    Parameter("web_search_options", _CHAT, "refused", "any", refused_unless("nobody searches the web here.")),
    Parameter("moderation", _CHAT, "ignored", "nobody moderates here", lost_unless()),
    Parameter("store", _CHAT, "ignored", "`false` is silent; what is kept is in the audit", lost_unless(False)),
    Parameter("service_tier", _CHAT, "ignored", "`auto`, `default` are silent", lost_unless("auto", "default")),
    Parameter("encoding_format", _VECTORS, "passed", "`float` or `base64`"),
    Parameter("dimensions", _VECTORS, "passed", "a whole number above 0", whole(1, MAX_TOKENS)),
    Parameter("user", _ALL, "silent", _HINT),
    Parameter("metadata", _CHAT, "silent", _HINT),
    Parameter("safety_identifier", _CHAT, "silent", _HINT),
    Parameter("prompt_cache_key", _CHAT, "silent", _HINT),
    Parameter("prompt_cache_retention", _CHAT, "silent", _HINT),
    Parameter("prompt_cache_options", _CHAT, "silent", _HINT),
    Parameter("prediction", _CHAT, "silent", "may speed an answer up, and changes nothing in it"),
    Parameter("options", _ALL, "ignored", "would reload a model for everyone", lost_unless({})),
    Parameter("keep_alive", _ALL, "ignored", "would hold or unload a model for everyone", lost_unless()),
    Parameter("format", _WRITING, "ignored", _NATIVE + "; use `response_format`", lost_unless("")),
    Parameter("think", _WRITING, "ignored", _NATIVE + "; use `reasoning_effort`", lost_unless()),
    *(Parameter(name, _WRITING, "ignored", _NATIVE, lost_unless()) for name in ("top_k", "min_p", "repeat_penalty")),
)

_OPERATIONS: Final[tuple[Operation, ...]] = ("chat", "completions", "embeddings")
_TABLE_OF: Final = {operation: tuple(row for row in TABLE if operation in row.operations) for operation in _OPERATIONS}
