"""What a client asks, read once from its body, and the body that goes upstream in its place.

Rules come from ollama/ollama openai/openai.go: what Ollama ignores or would misread is mended or refused here.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final, Literal, NoReturn

import msgspec

from ai_gateway.errors import InvalidRequest
from ai_gateway.wire import messages
from ai_gateway.wire.asides import Asides
from ai_gateway.wire.json_guard import Fields, check_spelling, read_object

Operation = Literal["chat", "completions", "embeddings"]

PATHS: Final[dict[Operation, str]] = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "embeddings": "/v1/embeddings",
}

# The list that a call is about, which may be long.
LISTS: Final[dict[Operation, str]] = {"chat": "messages", "completions": "prompt", "embeddings": "input"}

MAX_TOKENS: Final = 2**31 - 1
MAX_MODEL_LENGTH: Final = 512
# What whoever records may want to know of a call, beside its model.
PARAMETERS: Final = frozenset(
    (
        *("temperature", "top_p", "top_k", "max_tokens", "seed", "frequency_penalty", "presence_penalty", "stop"),
        *("response_format", "encoding_format", "dimensions"),
    )
)
MAX_PARAMETER_BYTES: Final = 1024

# Every key that Ollama binds on these paths, and those that the gateway reads or keeps from it.
_KEYS: Final = (
    "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "temperature",
    "top_p", "seed", "stop", "frequency_penalty", "presence_penalty", "response_format", "tools", "tool_choice",
    "reasoning", "reasoning_effort", "logprobs", "top_logprobs", "n", "user", "prompt", "suffix", "input",
    "encoding_format", "dimensions", "options", "keep_alive", "format", "think", "_debug_render_only",
)  # fmt: skip
_KNOWN: Final = {key: key for key in _KEYS}
_NEVER_UPSTREAM: Final = ("_debug_render_only", "options", "keep_alive", "n", "max_completion_tokens")

_NULL: Final = b"null"
_WITH_USAGE: Final = msgspec.Raw(b'{"include_usage":true}')

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_flag = msgspec.json.Decoder(bool).decode
_decode_int = msgspec.json.Decoder(int).decode


class Call(msgspec.Struct, frozen=True):
    """What a client asks. `model` is the id as the client wrote it; `fields` are still unread JSON values.

    `asides` is what of a large body is not in them.
    """

    operation: Operation
    model: str
    stream: bool
    wants_usage: bool  # the client asked for the usage chunk of its stream
    fields: Fields
    asides: Asides | None = None

    def upstream_body(self, ollama_name: str, max_tokens: int | None) -> bytes:
        """The body to send: Ollama's name for the model, and `max_tokens` where the client set no limit."""
        fields = self.fields
        fields["model"] = msgspec.Raw(_encode(ollama_name))
        if max_tokens is not None and self.operation != "embeddings" and "max_tokens" not in fields:
            fields["max_tokens"] = msgspec.Raw(str(max_tokens).encode())
        return _encode(fields)

    def upstream_pieces(self, ollama_name: str, max_tokens: int | None) -> list[bytes]:
        """The same in pieces, of a large body those that came."""
        text = self.upstream_body(ollama_name, max_tokens)
        return [text] if self.asides is None else list(self.asides.pieces(text))

    def let_go(self) -> None:
        """Forgets what was asked; what is known of the call stays."""
        self.fields.clear()
        if self.asides is not None:
            self.asides.clear()

    def prompt(self) -> Iterator[bytes]:
        """JSON text of what the model is asked, piece by piece."""
        text = self._prompt()
        return iter((text,)) if self.asides is None else self.asides.pieces(text)

    def prompts(self, most: int) -> Iterator[bytes]:
        """The same as JSON texts of their own, a few items of a long list in each. See Asides.short."""
        text = self._prompt()
        return iter((text,)) if self.asides is None else self.asides.beginnings(text, most)

    def _prompt(self) -> bytes:
        return next((bytes(self.fields[key]) for key in LISTS.values() if key in self.fields), b"")

    def token_limit(self) -> int | None:
        """How many tokens the client lets the answer have, if it says; only before the fields go."""
        text = _given(self.fields, "max_tokens")
        return None if text is None or self.operation == "embeddings" else int(text)

    def parameters(self) -> dict[str, Any]:
        """What the client set of `PARAMETERS`, as values; what cannot be read or is very long is left out."""
        found = {}
        for key in PARAMETERS.intersection(self.fields):
            text = bytes(self.fields[key])
            if text != _NULL and len(text) <= MAX_PARAMETER_BYTES:
                with suppress(msgspec.DecodeError):
                    found[key] = _decode(text)
        return found


def read_call(operation: Operation, body: bytes) -> Call:
    """The call in a request body. Raises InvalidRequest, with `param` where one field is at fault."""
    return call_of(operation, read_object(body, _KNOWN))


def is_known(key: str) -> bool:
    """Whether Ollama or the gateway reads a key of this name. Raises InvalidRequest where it is one but for case."""
    check_spelling((key,), _KNOWN)
    return key in _KNOWN


def call_of(operation: Operation, fields: Fields, asides: Asides | None = None) -> Call:
    """The call that these fields ask for. Raises InvalidRequest, with `param` where one field is at fault."""
    call = Call(operation, _model(fields), _flag(fields, "stream"), _wants_usage(fields), fields, asides)
    _CHECKS[operation](fields)
    if operation == "embeddings" and call.stream:
        _refuse("stream", "Embeddings cannot be streamed.")
    fields.pop("stream_options", None)
    if call.stream:
        fields["stream_options"] = _WITH_USAGE
    for key in _NEVER_UPSTREAM:
        fields.pop(key, None)
    return call


def _refuse(param: str, message: str, code: str = "invalid_value") -> NoReturn:
    raise InvalidRequest(message, code=code, param=param)


def _given(fields: Fields, key: str) -> bytes | None:
    """The JSON text of a value, or None for one that is absent or null."""
    raw = fields.get(key)
    if raw is None:
        return None
    text = bytes(raw)
    return None if text == _NULL else text


def _read(text: bytes, key: str) -> Any:
    """A value that the guard let pass; only a number beyond what a float holds can still be wrong with it."""
    try:
        return _decode(text)
    except msgspec.DecodeError as error:
        _refuse(key, f"`{key}` cannot be read: {error}.")


def _model(fields: Fields) -> str:
    text = _given(fields, "model")
    if text is None:
        _refuse("model", "`model` is required: name one of those that GET /v1/models lists.", "missing_value")
    if not text.startswith(b'"') or len(text) < 3:
        _refuse("model", "`model` must be a string that is not empty.")
    if len(text) > MAX_MODEL_LENGTH:
        _refuse("model", f"`model` is longer than {MAX_MODEL_LENGTH} characters.")
    return _decode_text(text)


def _flag(fields: Fields, key: str) -> bool:
    text = _given(fields, key)
    if text is None:
        return False
    if text not in (b"true", b"false"):
        _refuse(key, f"`{key}` must be true or false.")
    return text == b"true"


def _wants_usage(fields: Fields) -> bool:
    text = _given(fields, "stream_options")
    if text is None:
        return False
    options = _read(text, "stream_options")
    if not isinstance(options, dict) or not isinstance(options.get("include_usage") or False, bool):
        _refuse("stream_options", '`stream_options` must be an object such as {"include_usage": true}.')
    return bool(options.get("include_usage"))


def _whole_number(fields: Fields, key: str, lowest: int, highest: int) -> int | None:
    text = _given(fields, key)
    if text is None:
        return None
    try:
        value = _decode_int(text)
    except (msgspec.ValidationError, UnicodeDecodeError):
        value = lowest - 1
    if not lowest <= value <= highest or b"." in text or b"e" in text.lower():
        _refuse(key, f"`{key}` must be a whole number from {lowest} to {highest}.")
    return value


def _check_generation(fields: Fields) -> None:
    if _given(fields, "n") is not None and _whole_number(fields, "n", 1, 128) != 1:
        _refuse("n", "`n` above 1 is not supported: Ollama writes one answer per request; send several requests.")
    limit = _whole_number(fields, "max_tokens", 1, MAX_TOKENS)
    newer = _whole_number(fields, "max_completion_tokens", 1, MAX_TOKENS)
    if limit is None:
        fields.pop("max_tokens", None)
        if newer is not None:  # Ollama ignores the newer name of the same limit
            fields["max_tokens"] = msgspec.Raw(str(newer).encode())


def _check_chat(fields: Fields) -> None:
    text = _given(fields, "messages")
    if text is None:
        _refuse("messages", "`messages` is required.", "missing_value")
    if not text.startswith(b"[") or not text[1:-1].strip():
        _refuse("messages", "`messages` must be a list with at least one message.")
    mended = messages.mend(text)
    if mended is not None:
        fields["messages"] = msgspec.Raw(mended)
    if _given(fields, "tool_choice") == b'"none"':  # Ollama ignores it: without tools none can be called
        fields.pop("tools", None)
        fields.pop("tool_choice", None)
    _check_generation(fields)


def _check_completions(fields: Fields) -> None:
    text = _given(fields, "prompt")
    if text is None:
        _refuse("prompt", "`prompt` is required.", "missing_value")
    if not text.startswith(b'"'):
        _refuse("prompt", "`prompt` must be a string: Ollama takes neither lists nor tokens.")
    _check_generation(fields)


def _check_embeddings(fields: Fields) -> None:
    text = _given(fields, "input")
    if text is None:
        _refuse("input", "`input` is required.", "missing_value")
    if not text.startswith(b'"'):
        check_inputs(text)
    encoding = _given(fields, "encoding_format")
    if encoding is not None and encoding not in (b'"float"', b'"base64"'):
        _refuse("encoding_format", '`encoding_format` must be "float" or "base64".')
    _whole_number(fields, "dimensions", 1, MAX_TOKENS)


def check_inputs(text: bytes) -> None:
    """Raises InvalidRequest for a list of anything but texts."""
    inputs = _read(text, "input")
    if not isinstance(inputs, list) or not inputs:
        _refuse("input", "`input` must be a string or a list of strings that is not empty.")
    if all(isinstance(item, str) for item in inputs):
        return
    if all(isinstance(item, int | list) and not isinstance(item, bool) for item in inputs):
        _refuse(
            "input",
            "`input` holds token ids, and Ollama embeds text only. In langchain-openai set "
            "OpenAIEmbeddings(check_embedding_ctx_length=False); elsewhere send strings.",
            "token_input_unsupported",
        )
    _refuse("input", "`input` must be a string or a list of strings.")


_CHECKS: Final = {"chat": _check_chat, "completions": _check_completions, "embeddings": _check_embeddings}
