"""What a client asks, read once from its body, and the body that goes upstream in its place.

Rules come from ollama/ollama openai/openai.go: what Ollama ignores or would misread is mended or refused here.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import msgspec

from ai_gateway.wire import messages
from ai_gateway.wire.asides import Asides
from ai_gateway.wire.fields import flag, given, read_value, refuse
from ai_gateway.wire.json_guard import Fields, check_spelling, read_object
from ai_gateway.wire.parameters import TABLE, Operation, read_parameters

__all__ = ["MAX_MODEL_LENGTH", "PATHS", "Call", "Operation", "read_call"]

PATHS: Final[dict[Operation, str]] = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "embeddings": "/v1/embeddings",
}

# The list that a call is about, which may be long.
LISTS: Final[dict[Operation, str]] = {"chat": "messages", "completions": "prompt", "embeddings": "input"}
MAX_MODEL_LENGTH: Final = 512
# What whoever records may want to know of a call, beside its model.
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


class UpstreamBody(msgspec.Struct, frozen=True):
    """The body that goes upstream, but for its model: each attempt writes the name by which the model goes there."""

    pieces: list[bytes]  # cleared when nobody can need them again

    def naming(self, ollama_name: str) -> list[bytes]:
        """All of it, in pieces, of a large body those that came."""
        return [b'{"model":' + _encode(ollama_name), *self.pieces]


class Call(msgspec.Struct, frozen=True):
    """What a client asks. `model` is the id as the client wrote it; `fields` are still unread JSON values.

    `ignored` names the parameters that ask for what Ollama cannot do, and are not sent. `asides` is what of a large
    body is not in `fields`.
    """

    operation: Operation
    model: str
    stream: bool
    wants_usage: bool  # the client asked for the usage chunk of its stream
    fields: Fields
    ignored: tuple[str, ...] = ()
    asides: Asides | None = None

    def upstream(self, max_tokens: int | None) -> UpstreamBody:
        """The body to send, with `max_tokens` where the client set no limit."""
        fields = self.fields
        fields.pop("model", None)
        if max_tokens is not None and self.operation != "embeddings" and "max_tokens" not in fields:
            fields["max_tokens"] = msgspec.Raw(str(max_tokens).encode())
        text = b"," + _encode(fields)[1:]  # behind the model; what a call is about stands there always
        return UpstreamBody([text] if self.asides is None else list(self.asides.pieces(text)))

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
        text = given(self.fields, "max_tokens")
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
    return Call(operation, model, stream, wants_usage, fields, ignored, asides)


def _model(fields: Fields) -> str:
    text = given(fields, "model")
    if text is None:
        refuse("model", "`model` is required: name one of those that GET /v1/models lists.", "missing_value")
    if not text.startswith(b'"') or len(text) < 3:
        refuse("model", "`model` must be a string that is not empty.")
    if len(text) > MAX_MODEL_LENGTH:
        refuse("model", f"`model` is longer than {MAX_MODEL_LENGTH} characters.")
    model = _decode_text(text)
    if "\ufffd" in model:  # what half of a surrogate pair is read as: no model is called so
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
    mended = messages.normalize(text)
    if mended is not None:
        fields["messages"] = msgspec.Raw(mended)


def _check_completions(fields: Fields) -> None:
    text = given(fields, "prompt")
    if text is None:
        refuse("prompt", "`prompt` is required.", "missing_value")
    if not text.startswith(b'"'):
        fields["prompt"] = _only_prompt(text)


def _only_prompt(text: bytes) -> msgspec.Raw:
    """The text of a list of one."""
    try:
        (prompt,) = _decode_only(text)
    except msgspec.ValidationError:
        if text[1:].lstrip().startswith(b'"'):
            refuse("prompt", "`prompt` lists several texts: Ollama continues one per request; send several requests.")
        refuse("prompt", "`prompt` must be a string, or a list of one: Ollama takes no token ids.")
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
    """Raises InvalidRequest for a list of anything but texts."""
    inputs = read_value(text, "input")
    if not isinstance(inputs, list) or not inputs:
        refuse("input", "`input` must be a string or a list of strings that is not empty.")
    if all(isinstance(item, str) for item in inputs):
        return
    if all(isinstance(item, int | list) and not isinstance(item, bool) for item in inputs):
        refuse(
            "input",
            "`input` holds token ids, and Ollama embeds text only. In langchain-openai set "
            "OpenAIEmbeddings(check_embedding_ctx_length=False); elsewhere send strings.",
            "token_input_unsupported",
        )
    refuse("input", "`input` must be a string or a list of strings.")


_CHECKS: Final = {"chat": _check_chat, "completions": _check_completions, "embeddings": _check_embeddings}
