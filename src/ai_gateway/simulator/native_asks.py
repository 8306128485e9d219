"""Reads the bodies of /api/generate, /api/chat, /api/embed and /api/embeddings.

Source: api/types.go. Streams are on unless `stream` is false.
"""

from typing import Any

from ai_gateway.simulator.asks import Ask, EmbedAsk, Message
from ai_gateway.simulator.durations import parse_keep_alive
from ai_gateway.simulator.go_json import Fields, decode, encode
from ai_gateway.simulator.openai_asks import IMAGE_TEXT, read_texts, read_tools
from ai_gateway.simulator.refusals import Refusal


def read_native(body: bytes, struct: str) -> Fields:
    """The fields of any native request. Raises `Refusal` 400 `missing request body`."""
    if not body.strip():
        raise Refusal(400, "missing request body")
    return Fields(decode(body), struct)


def read_generate(body: bytes) -> Ask:
    """`POST /api/generate`; without a prompt it loads or, with `keep_alive: 0`, unloads."""
    fields = read_native(body, "api.GenerateRequest")
    prompt = fields.text("prompt")
    system = fields.text("system")
    messages = [Message("system", system)] if prompt and system else []
    messages += [Message("user", prompt)] if prompt else []
    return _ask(fields, tuple(messages))


def read_chat(body: bytes) -> Ask:
    """`POST /api/chat`; without messages it loads or, with `keep_alive: 0`, unloads."""
    fields = read_native(body, "api.ChatRequest")
    messages = []
    for item in fields.each("messages"):
        images = item.raw("images")
        text = item.text("content") + IMAGE_TEXT * (len(images) if isinstance(images, list) else 0)
        messages.append(Message(item.text("role").lower(), text))
    return _ask(fields, tuple(messages))


def read_embed(body: bytes) -> EmbedAsk:
    """`POST /api/embed`; without input it loads."""
    fields = read_native(body, "api.EmbedRequest")
    given = fields.raw("input")
    truncate = fields.optional_flag("truncate")
    return EmbedAsk(
        model=fields.text("model"),
        texts=() if given is None else read_texts(given),
        dimensions=fields.whole("dimensions") or 0,
        truncates=truncate is not False,
        keep_alive=parse_keep_alive(fields.raw("keep_alive")),
        context_length=_options(fields).get("num_ctx"),
    )


def read_embeddings(body: bytes) -> EmbedAsk:
    """`POST /api/embeddings`, the old way: one prompt."""
    fields = read_native(body, "api.EmbeddingRequest")
    prompt = fields.text("prompt")
    return EmbedAsk(
        model=fields.text("model"),
        texts=(prompt,) if prompt else (),
        keep_alive=parse_keep_alive(fields.raw("keep_alive")),
        context_length=_options(fields).get("num_ctx"),
    )


def _ask(fields: Fields, messages: tuple[Message, ...]) -> Ask:
    options = _options(fields)
    stop = options.get("stop")
    stops = (stop,) if isinstance(stop, str) else tuple(stop or ())
    max_tokens = options.get("num_predict")
    return Ask(
        model=fields.text("model"),
        messages=messages,
        stream=fields.optional_flag("stream") is not False,
        max_tokens=None if max_tokens is None or max_tokens < 0 else int(max_tokens),
        stop=tuple(one for one in stops if isinstance(one, str)),
        tools=read_tools(fields),
        schema=_format(fields.raw("format")),
        effort=_think(fields.raw("think")),
        logprobs=fields.flag("logprobs"),
        top_logprobs=fields.whole("top_logprobs") or 0,
        seed=int(options.get("seed") or 0),
        keep_alive=parse_keep_alive(fields.raw("keep_alive")),
        context_length=options.get("num_ctx"),
        suffix=fields.text("suffix"),
    )


def _options(fields: Fields) -> dict[str, Any]:
    """`options`; raises if a number in it is not one."""
    options = fields.raw("options")
    if options is None:
        return {}
    if not isinstance(options, dict):
        raise Refusal(400, "json: cannot unmarshal into Go struct field .options of type map[string]interface {}")
    for name in ("num_ctx", "num_predict", "seed"):
        value = options.get(name)
        if value is not None and (not isinstance(value, int | float) or isinstance(value, bool)):
            raise Refusal(500, f'option "{name}" must be of type integer')
    return {name: int(value) if isinstance(value, float) else value for name, value in options.items()}


def _format(value: Any) -> dict[str, Any] | None:
    if value in (None, ""):
        return None
    if value == "json":
        return {}
    if isinstance(value, dict):
        return value
    given = encode(value).decode()
    raise Refusal(500, f'invalid format: {encode(given).decode()}; expected "json" or a valid JSON Schema object')


def _think(value: Any) -> str | None:
    if value is None:
        return None
    if value in (True, False):
        return "medium" if value else "none"
    if value in ("low", "medium", "high", "max"):
        return str(value)
    raise Refusal(400, f'invalid think value: "{value}" (must be "high", "medium", "low", "max", true, or false)')
