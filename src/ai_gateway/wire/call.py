"""A client's call, read once from its body, and the body that the gateway sends upstream instead.

Rules come from ollama/ollama openai/openai.go: the gateway normalizes or refuses what Ollama would ignore or misread.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import msgspec

from ai_gateway.wire import messages
from ai_gateway.wire.fields import flag, given, read_value, refuse
from ai_gateway.wire.json_guard import Fields, check_spelling, read_object
from ai_gateway.wire.parameters import TABLE, Operation, read_parameters
from ai_gateway.wire.placeholders import Placeholders

__all__ = ["MAX_MODEL_LENGTH", "PATHS", "Call", "Operation", "read_call"]

PATHS: Final[dict[Operation, str]] = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "embeddings": "/v1/embeddings",
}

# The field with the prompt; it may be a long list.
LISTS: Final[dict[Operation, str]] = {"chat": "messages", "completions": "prompt", "embeddings": "input"}
MAX_MODEL_LENGTH: Final = 512
# Parameters that spans and the audit may record.
PARAMETERS: Final = frozenset(
    (
        *("temperature", "top_p", "top_k", "max_tokens", "seed", "frequency_penalty", "presence_penalty", "stop"),
        *("response_format", "encoding_format", "dimensions"),
    )
)
MAX_PARAMETER_BYTES: Final = 1024

_KNOWN: Final = {key: key for key in (*(row.name for row in TABLE), "_debug_render_only")}
_NEVER_UPSTREAM: Final = ("_debug_render_only", "options", "keep_alive", "n", "max_completion_tokens")

_NULL: Final = b"null"
_WITH_USAGE: Final = msgspec.Raw(b'{"include_usage":true}')

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_only = msgspec.json.Decoder(tuple[str]).decode


class Call(msgspec.Struct, frozen=True):
    """A client's call. `model` is the id as the client wrote it; `fields` are JSON values that are not decoded yet.

    `ignored` names parameters that Ollama cannot honour; the gateway does not send them. `placeholders` holds the
    long values of a large body.
    """

    operation: Operation
    model: str
    stream: bool
    wants_usage: bool  # the client asked for the usage chunk of its stream
    fields: Fields
    ignored: tuple[str, ...] = ()
    placeholders: Placeholders | None = None

    def upstream_body(self, ollama_name: str, max_tokens: int | None) -> bytes:
        """The body to send, with Ollama's name of the model, and with `max_tokens` if the client set no limit."""
        fields = self.fields
        fields["model"] = msgspec.Raw(_encode(ollama_name))
        if max_tokens is not None and self.operation != "embeddings" and "max_tokens" not in fields:
            fields["max_tokens"] = msgspec.Raw(str(max_tokens).encode())
        return _encode(fields)

    def upstream_pieces(self, ollama_name: str, max_tokens: int | None) -> list[bytes]:
        """The same body in pieces; of a large body, the pieces that the gateway received."""
        text = self.upstream_body(ollama_name, max_tokens)
        return [text] if self.placeholders is None else list(self.placeholders.pieces(text))

    def let_go(self) -> None:
        """Drops the fields; the facts about the call stay."""
        self.fields.clear()
        if self.placeholders is not None:
            self.placeholders.clear()

    def prompt(self) -> Iterator[bytes]:
        """JSON text of the prompt, in pieces."""
        text = self._prompt()
        return iter((text,)) if self.placeholders is None else self.placeholders.pieces(text)

    def prompts(self, most: int) -> Iterator[bytes]:
        """The prompt as one or more JSON texts, a few items of a long list in each. See Placeholders.short."""
        text = self._prompt()
        return iter((text,)) if self.placeholders is None else self.placeholders.beginnings(text, most)

    def _prompt(self) -> bytes:
        return next((bytes(self.fields[key]) for key in LISTS.values() if key in self.fields), b"")

    def token_limit(self) -> int | None:
        """The client's limit of tokens for the answer, if it set one. Call it before `let_go`."""
        text = given(self.fields, "max_tokens")
        return None if text is None or self.operation == "embeddings" else int(text)

    def parameters(self) -> dict[str, Any]:
        """The client's values for `PARAMETERS`, without those that are unreadable or very long."""
        found = {}
        for key in PARAMETERS.intersection(self.fields):
            text = bytes(self.fields[key])
            if text != _NULL and len(text) <= MAX_PARAMETER_BYTES:
                with suppress(msgspec.DecodeError):
                    found[key] = _decode(text)
        return found


def read_call(operation: Operation, body: bytes) -> Call:
    """The call in a request body. Raises InvalidRequest, with `param` if one field is wrong."""
    return call_of(operation, read_object(body, _KNOWN))


def is_known(key: str) -> bool:
    """Whether Ollama or the gateway reads this key. Raises InvalidRequest if only its case differs from such a key."""
    check_spelling((key,), _KNOWN)
    return key in _KNOWN


def call_of(operation: Operation, fields: Fields, placeholders: Placeholders | None = None) -> Call:
    """The call that these fields make. Raises InvalidRequest, with `param` if one field is wrong."""
    model, stream, wants_usage = _model(fields), flag(fields, "stream"), _wants_usage(fields)
    _CHECKS[operation](fields)
    ignored = read_parameters(operation, fields)
    if operation == "embeddings" and stream:
        refuse("stream", "Embeddings cannot be streamed.")
    fields.pop("stream_options", None)
    if stream:
        fields["stream_options"] = _WITH_USAGE
    for key in _NEVER_UPSTREAM:
        fields.pop(key, None)
    return Call(operation, model, stream, wants_usage, fields, ignored, placeholders)


def _model(fields: Fields) -> str:
    text = given(fields, "model")
    if text is None:
        refuse("model", "`model` is required: send one of the ids that GET /v1/models lists.", "missing_value")
    if not text.startswith(b'"') or len(text) < 3:
        refuse("model", "`model` must be a non-empty string.")
    if len(text) > MAX_MODEL_LENGTH:
        refuse("model", f"`model` is longer than {MAX_MODEL_LENGTH} characters.")
    model = _decode_text(text)
    if "\ufffd" in model:  # half of a surrogate pair is read as this; no model has it in its name
        refuse("model", "`model` holds a character that is not valid Unicode.")
    return model


def _wants_usage(fields: Fields) -> bool:
    text = given(fields, "stream_options")
    if text is None:
        return False
    options = read_value(text, "stream_options")
    if not isinstance(options, dict) or not isinstance(options.get("include_usage") or False, bool):
        refuse("stream_options", '`stream_options` must be an object such as {"include_usage": true}.')
    return bool(options.get("include_usage"))


def _check_chat(fields: Fields) -> None:
    text = given(fields, "messages")
    if text is None:
        refuse("messages", "`messages` is required.", "missing_value")
    if not text.startswith(b"[") or not text[1:-1].strip():
        refuse("messages", "`messages` must be a list with at least one message.")
    normalized = messages.normalize(text)
    if normalized is not None:
        fields["messages"] = msgspec.Raw(normalized)


def _check_completions(fields: Fields) -> None:
    text = given(fields, "prompt")
    if text is None:
        refuse("prompt", "`prompt` is required.", "missing_value")
    if not text.startswith(b'"'):
        fields["prompt"] = _only_prompt(text)


def _only_prompt(text: bytes) -> msgspec.Raw:
    """The only text of a list."""
    try:
        (prompt,) = _decode_only(text)
    except msgspec.ValidationError:
        if text[1:].lstrip().startswith(b'"'):
            refuse("prompt", "`prompt` has several texts, but Ollama takes one per request; send several requests.")
        refuse("prompt", "`prompt` must be a string or a list with one string; Ollama takes no token ids.")
    return msgspec.Raw(_encode(prompt))


def _check_embeddings(fields: Fields) -> None:
    text = given(fields, "input")
    if text is None:
        refuse("input", "`input` is required.", "missing_value")
    if not text.startswith(b'"'):
        check_inputs(text)
    encoding = given(fields, "encoding_format")
    if encoding is not None and encoding not in (b'"float"', b'"base64"'):
        refuse("encoding_format", '`encoding_format` must be "float" or "base64".')


def check_inputs(text: bytes) -> None:
    """Raises InvalidRequest unless the list holds only texts."""
    inputs = read_value(text, "input")
    if not isinstance(inputs, list) or not inputs:
        refuse("input", "`input` must be a string or a non-empty list of strings.")
    if all(isinstance(item, str) for item in inputs):
        return
    if all(isinstance(item, int | list) and not isinstance(item, bool) for item in inputs):
        refuse(
            "input",
            "`input` holds token ids, but Ollama embeds text only. In langchain-openai set "
            "OpenAIEmbeddings(check_embedding_ctx_length=False); elsewhere send strings.",
            "token_input_unsupported",
        )
    refuse("input", "`input` must be a string or a list of strings.")


_CHECKS: Final = {"chat": _check_chat, "completions": _check_completions, "embeddings": _check_embeddings}
