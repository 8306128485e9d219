"""Reads the bodies of /v1 as Ollama does: what it accepts, refuses and silently ignores.

Source: openai/openai.go (FromChatRequest, FromCompleteRequest), middleware/openai.go. `max_completion_tokens`, `n`,
`tool_choice`, `keep_alive`, `options` and all other fields have no effect, as in Ollama.
"""

import base64
from typing import Any

from ai_gateway.simulator.asks import Ask, EmbedAsk, Message, Tool
from ai_gateway.simulator.go_json import Fields, decode, kind
from ai_gateway.simulator.refusals import Refusal, Unreadable

EFFORTS = {
    "none": "none",
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "max": "max",
    "xhigh": "max",
    "ultra": "max",
}
IMAGE_TEXT = "[image]"
_IMAGE_STARTS = ("data:;base64,", *(f"data:image/{kind};base64," for kind in ("jpeg", "jpg", "png", "webp")))


def read_chat(body: bytes) -> Ask:
    """`POST /v1/chat/completions`. Raises `Refusal` 400."""
    fields = Fields(decode(body), "openai.ChatCompletionRequest")
    model = fields.text("model")
    stream = fields.flag("stream")
    include_usage = _include_usage(fields)
    max_tokens, seed = fields.whole("max_tokens"), fields.whole("seed")
    top_logprobs = _check_numbers(fields)
    messages = [message for item in fields.each("messages") for message in _messages(item)]
    if not fields.raw("messages"):
        raise Unreadable("[] is too short - 'messages'")
    return Ask(
        model=model,
        messages=tuple(messages),
        stream=stream,
        include_usage=include_usage,
        max_tokens=max_tokens,
        stop=_stops(fields.raw("stop")),
        tools=read_tools(fields),
        schema=_schema(fields),
        effort=_effort(fields),
        logprobs=fields.flag("logprobs"),
        top_logprobs=top_logprobs,
        seed=seed or 0,
    )


def read_completion(body: bytes) -> Ask:
    """`POST /v1/completions`. Raises `Refusal` 400: the prompt is one string."""
    fields = Fields(decode(body), "openai.CompletionRequest")
    stops = fields.raw("stop")
    if isinstance(stops, list) and not all(isinstance(stop, str) for stop in stops):
        wrong = next(stop for stop in stops if not isinstance(stop, str))
        raise Unreadable(f"invalid type for 'stop' field: {kind(wrong)}")
    return Ask(
        model=fields.text("model"),
        messages=(Message("prompt", fields.text("prompt")),) if fields.text("prompt") else (),
        stream=fields.flag("stream"),
        include_usage=_include_usage(fields),
        max_tokens=fields.whole("max_tokens"),
        stop=_stops(stops),
        seed=fields.whole("seed") or 0,
        suffix=fields.text("suffix"),
    )


def read_embedding(body: bytes) -> EmbedAsk:
    """`POST /v1/embeddings`. Raises `Refusal` 400, for token arrays too."""
    fields = Fields(decode(body), "openai.EmbedRequest")
    encoding = fields.text("encoding_format")
    if encoding.lower() not in ("", "float", "base64"):
        raise Unreadable(
            f"Invalid value for 'encoding_format' = {encoding}. Supported values: ['float', 'base64'].",
        )
    given = fields.raw("input")
    if given is None or given == []:
        raise Unreadable("invalid input")
    return EmbedAsk(
        model=fields.text("model"),
        texts=read_texts([""] if given == "" else given),
        dimensions=fields.whole("dimensions") or 0,
        is_base64=encoding.lower() == "base64",
    )


def read_texts(given: Any) -> tuple[str, ...]:
    """The texts of an `input`: a string (an empty one is none) or a list of strings. Raises `Refusal` 400."""
    if isinstance(given, str):
        return (given,) if given else ()
    if isinstance(given, list) and all(isinstance(text, str) for text in given):
        return tuple(given)
    raise Refusal(400, "invalid input type")


def read_tools(fields: Fields) -> tuple[Tool, ...]:
    """The functions in `tools`, in both APIs."""
    tools = []
    for item in fields.each("tools"):
        function = item.inner("function")
        if function is None:
            continue
        parameters = function.raw("parameters")
        name = function.text("name")
        tools.append(Tool(name, parameters if isinstance(parameters, dict) else {}))
    return tuple(tools)


def _messages(item: Fields) -> list[Message]:
    """One message of the request; each part of its content becomes a message of its own, as in Ollama."""
    role = item.text("role").lower()
    content = item.raw("content")
    calls = list(item.each("tool_calls"))
    for call in calls:
        function = call.inner("function")
        _check_arguments("" if function is None else function.text("arguments"))
    if isinstance(content, str):
        return [Message(role, content)]
    if isinstance(content, list):
        return [Message(role, _part_text(part)) for part in content]
    if content is None and calls:
        return [Message(role, "")]
    raise Unreadable(f"invalid message content type: {_go_type(content)}")


def _check_arguments(text: str) -> None:
    try:
        value = decode(text.encode("utf-8", "replace"))
    except Refusal as error:
        raise Unreadable("invalid tool call arguments") from error
    if not isinstance(value, dict):
        raise Unreadable("invalid tool call arguments")


def _part_text(part: Any) -> str:
    """The text of one content part; a word stands for an image."""
    if not isinstance(part, dict):
        raise Unreadable("invalid message format")
    match part.get("type"):
        case "text" if isinstance(part.get("text"), str):
            return str(part["text"])
        case "image_url":
            url = part.get("image_url")
            url = url.get("url") if isinstance(url, dict) else url
            return _image_text(url)
        case "input_audio" if isinstance(part.get("input_audio"), dict):
            return "[audio]"
    raise Unreadable("invalid message format")


def _image_text(url: Any) -> str:
    if not isinstance(url, str):
        raise Unreadable("invalid message format")
    start = next((start for start in _IMAGE_STARTS if url.startswith(start)), None)
    if url.startswith(("http://", "https://")):
        raise Unreadable("image URLs are not currently supported, please use base64 encoded data instead")
    if start is None:
        raise Unreadable("invalid image input")
    try:
        base64.b64decode(url.removeprefix(start), validate=True)
    except ValueError as error:  # binascii.Error is a subclass; text outside ASCII raises a plain one
        raise Unreadable("invalid message format") from error
    return IMAGE_TEXT


def _check_numbers(fields: Fields) -> int:
    """Raises `Refusal` for numbers of a wrong type, and for `top_logprobs` outside 0..20."""
    for name in ("temperature", "top_p", "frequency_penalty", "presence_penalty"):
        fields.number(name)
    top_logprobs = fields.whole("top_logprobs") or 0
    if not 0 <= top_logprobs <= 20:
        raise Refusal(400, "top_logprobs must be between 0 and 20")
    return top_logprobs


def _include_usage(fields: Fields) -> bool:
    options = fields.inner("stream_options")
    return options is not None and options.flag("include_usage")


def _stops(stop: Any) -> tuple[str, ...]:
    if isinstance(stop, str):
        return (stop,)
    return tuple(one for one in stop if isinstance(one, str)) if isinstance(stop, list) else ()


def _schema(fields: Fields) -> dict[str, Any] | None:
    response_format = fields.inner("response_format")
    if response_format is None:
        return None
    match response_format.text("type").strip().lower():
        case "json_object":
            return {}
        case "json_schema":
            holder = response_format.inner("json_schema")
            schema = None if holder is None else holder.raw("schema")
            return schema if isinstance(schema, dict) else None
    return None


def _effort(fields: Fields) -> str | None:
    reasoning = fields.inner("reasoning")
    effort = fields.text("reasoning_effort") or ("" if reasoning is None else reasoning.text("effort"))
    if not effort:
        return None
    if effort not in EFFORTS:
        raise Unreadable(
            f'invalid reasoning value: \'{effort}\' (must be "high", "medium", "low", "max", or "none")',
        )
    return EFFORTS[effort]


def _go_type(value: Any) -> str:
    names = {"null": "<nil>", "number": "float64", "object": "map[string]interface {}"}
    return names.get(kind(value), kind(value))
