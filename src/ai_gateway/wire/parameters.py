"""How the gateway treats each parameter of OpenAI's, and those of Ollama's clients: one table.

`make generate` writes it into docs/api-endpoints.md. A parameter that is not here goes to Ollama unchanged.
"""

from typing import Final, Literal

import msgspec

from ai_gateway.wire import reading, tools
from ai_gateway.wire.reading import MAX_TOKENS, Reader, lost_unless, refused_unless, whole

# Which operations know a parameter: all, both that write text, or one.
Group = Literal["all", "both", "chat", "completions", "embeddings"]
# `passed`: Ollama gets it as it came. `rewritten`: it gets an equivalent that it understands. `ignored`: it gets
# nothing, and a header of the answer says so. `silent`: it does not change the answer, and no header names it.
# `refused`: 400.
Treatment = Literal["passed", "rewritten", "ignored", "silent", "refused"]


class Parameter(msgspec.Struct, frozen=True):
    """One row. `group` says which operations know it; `what` is a clause for the API page: which values it takes, or
    what happens to them."""

    name: str
    group: str
    treatment: Treatment
    what: str
    read: Reader | None = None


def parameters_of(*groups: Group) -> tuple[Parameter, ...]:
    """Those of the table that an operation of these groups knows, in its order."""
    return tuple(row for row in TABLE if row.group in groups)


_CHAT: Final = "chat"
_TEXT: Final = "completions"
_VECTORS: Final = "embeddings"
_WRITING: Final = "both"
_ALL: Final = "all"

_MODEL: Final = "Ollama's name of the model, such as `codellama:13b`; the answer has your id"
_USAGE: Final = '`{"include_usage": true}` for a stream, else nothing; you see `usage` only if you asked'
_LIMIT: Final = (
    "0, -1 and -2 mean no limit, and `100.0` is 100; without a limit, the model's `max_tokens` in the config applies"
)
_STOP: Final = "a string or a list of strings, also more than four; the gateway drops empty ones and null"
_FORMAT: Final = "type `text`, `json_object` or `json_schema`; of the last, Ollama reads only `schema`"
_CHOICE: Final = (
    "Ollama does `auto` anyway, `none` removes the tools, `any` is `required`. For a named function or "
    "`allowed_tools`, Ollama gets only those tools; one that is not in `tools` is an error. Nothing can make the "
    "model call a tool"
)
_HINT: Final = "means something only to OpenAI's own service"
_USER: Final = "new conversations of different users begin at endpoints of their own, where there is a choice"
_CACHE: Final = "names the conversation: the next call with it prefers the same endpoint; up to 1 KiB"
_NATIVE: Final = "Ollama reads it only in its own API, not under `/v1`"
_ONE: Final = "above 1: Ollama writes one answer per request"

TABLE: Final = (
    Parameter("model", _ALL, "rewritten", _MODEL),
    Parameter("messages", _CHAT, "rewritten", "see [Messages](#messages)"),
    Parameter("prompt", _TEXT, "rewritten", "a string, or a list of one; several strings and token ids are errors"),
    Parameter("input", _VECTORS, "passed", "a string or a list of strings; token ids are an error"),
    Parameter("stream", _ALL, "passed", "`true` or `false`; for embeddings `true` is an error"),
    Parameter("stream_options", _WRITING, "rewritten", _USAGE),
    Parameter("max_tokens", _WRITING, "rewritten", _LIMIT, reading.limit),
    Parameter(
        "max_completion_tokens",
        _WRITING,
        "rewritten",
        "sent as `max_tokens`, unless you give that too",
        reading.newer_limit,
    ),
    Parameter("temperature", _WRITING, "passed", "a number", reading.a_number),
    Parameter("top_p", _WRITING, "passed", "a number", reading.a_number),
    Parameter("frequency_penalty", _WRITING, "passed", "a number", reading.a_number),
    Parameter("presence_penalty", _WRITING, "passed", "a number", reading.a_number),
    Parameter("seed", _WRITING, "passed", "a whole number of 64 bits", whole(-(2**63), 2**63 - 1)),
    Parameter("stop", _WRITING, "rewritten", _STOP, reading.stop),
    Parameter("response_format", _CHAT, "passed", _FORMAT, reading.response_format),
    Parameter("tools", _CHAT, "passed", "functions; tools of another type are an error", tools.check_tools),
    Parameter("tool_choice", _CHAT, "ignored", _CHOICE, tools.choose_tools),
    Parameter("parallel_tool_calls", _CHAT, "ignored", "`true` is silent", lost_unless(True)),
    Parameter("reasoning_effort", _CHAT, "rewritten", "`minimal` is sent as `low`, `xhigh` as `max`", reading.effort),
    Parameter("reasoning", _CHAT, "rewritten", 'as `{"effort": ...}`, in the same way', reading.reasoning),
    Parameter("verbosity", _CHAT, "ignored", "`medium` is silent", lost_unless("medium")),
    Parameter("logprobs", _CHAT, "passed", "`true` or `false`", reading.a_flag),
    Parameter("top_logprobs", _CHAT, "passed", "0 to 20", whole(0, 20)),
    Parameter(
        "logprobs", _TEXT, "ignored", "0 is silent; Ollama's text completions have none", reading.completion_logprobs
    ),
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
    Parameter("audio", _CHAT, "ignored", "Ollama makes no speech", lost_unless()),
    Parameter("web_search_options", _CHAT, "refused", "any", refused_unless("the gateway cannot search the web.")),
    Parameter("moderation", _CHAT, "ignored", "Ollama does not moderate", lost_unless()),
    Parameter("store", _CHAT, "ignored", "`false` is silent; only the audit keeps anything", lost_unless(False)),
    Parameter("service_tier", _CHAT, "ignored", "`auto`, `default` are silent", lost_unless("auto", "default")),
    Parameter("encoding_format", _VECTORS, "passed", "`float` or `base64`"),
    Parameter("dimensions", _VECTORS, "passed", "a whole number above 0", whole(1, MAX_TOKENS)),
    Parameter("user", _ALL, "silent", _USER),
    Parameter("metadata", _CHAT, "silent", _HINT),
    Parameter("safety_identifier", _CHAT, "silent", _HINT),
    Parameter("prompt_cache_key", _CHAT, "silent", _CACHE),
    Parameter("prompt_cache_retention", _CHAT, "silent", _HINT),
    Parameter("prompt_cache_options", _CHAT, "silent", _HINT),
    Parameter("prediction", _CHAT, "silent", "only speeds an answer up"),
    Parameter("options", _ALL, "ignored", _NATIVE + "; set options in the Modelfile", lost_unless({})),
    Parameter("keep_alive", _ALL, "ignored", _NATIVE + "; set `OLLAMA_KEEP_ALIVE` on Ollama", lost_unless()),
    Parameter("format", _WRITING, "ignored", _NATIVE + "; use `response_format`", lost_unless("")),
    Parameter("think", _WRITING, "ignored", _NATIVE + "; use `reasoning_effort`", lost_unless()),
    *(Parameter(name, _WRITING, "ignored", _NATIVE, lost_unless()) for name in ("top_k", "min_p", "repeat_penalty")),
)
