"""A client's call, read once from its body, and the body that the gateway sends upstream instead.

Rules come from ollama/ollama openai/openai.go: the gateway normalizes or refuses what Ollama would ignore or misread.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec

from ai_gateway.wire.fields import flag, given, read_value, refuse
from ai_gateway.wire.json_guard import Fields, check_spelling, read_object
from ai_gateway.wire.operations import KNOWN_PARAMETERS, Operation
from ai_gateway.wire.parameters import Parameter
from ai_gateway.wire.placeholders import Placeholders

__all__ = ["MAX_MODEL_LENGTH", "Call", "Operation", "read_call"]

MAX_MODEL_LENGTH: Final = 512
# Parameters that spans and the audit may record.
PARAMETERS: Final = frozenset(
    (
        *("temperature", "top_p", "top_k", "max_tokens", "seed", "frequency_penalty", "presence_penalty", "stop"),
        *("response_format", "encoding_format", "dimensions"),
    )
)
MAX_PARAMETER_BYTES: Final = 1024

_KNOWN: Final = {key: key for key in (*(row.name for row in KNOWN_PARAMETERS), "_debug_render_only")}
_NEVER_UPSTREAM: Final = ("_debug_render_only", "options", "keep_alive", "n", "max_completion_tokens")

_NULL: Final = b"null"
_NONE: Final[Mapping[str, msgspec.Raw]] = {}
_WITH_USAGE: Final = msgspec.Raw(b'{"include_usage":true}')

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_decode_text = msgspec.json.Decoder(str).decode


class UpstreamBody(msgspec.Struct, frozen=True):
    """The body that goes upstream, without its model: each attempt writes the model's name on its endpoint."""

    model_field: str
    pieces: list[bytes]  # cleared when no attempt can need them again

    def naming(self, ollama_name: str) -> list[bytes]:
        """The whole body with this model, in pieces: a large body keeps the pieces in which it came."""
        return [b'{"%b":%b' % (self.model_field.encode(), _encode(ollama_name)), *self.pieces]


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

    def upstream(self, max_tokens: int | None, defaults: Mapping[str, msgspec.Raw] = _NONE) -> UpstreamBody:
        """The body to send, with `max_tokens` and `defaults` if the client set none. Only text has them."""
        fields, limit = self.fields, self.operation.limit_field
        if defaults and limit is not None:
            for key, value in defaults.items():
                fields.setdefault(key, value)
        fields.pop(self.operation.model_field, None)
        if max_tokens is not None and limit is not None and limit not in fields:
            fields[limit] = msgspec.Raw(str(max_tokens).encode())
        text = b"," + _encode(fields)[1:]  # after the model; the prompt is always among the fields
        pieces = [text] if self.placeholders is None else list(self.placeholders.pieces(text))
        return UpstreamBody(self.operation.model_field, pieces)

    def let_go(self) -> None:
        """Drops the fields; the facts about the call stay."""
        self.fields.clear()
        if self.placeholders is not None:
            self.placeholders.clear()

    def prompt(self) -> Iterator[bytes]:
        """JSON text of the prompt, in pieces."""
        for text in self._prompt():
            yield from (text,) if self.placeholders is None else self.placeholders.pieces(text)

    def prompts(self, most: int) -> Iterator[bytes]:
        """The prompt as one or more JSON texts, a few items of a long list in each. See Placeholders.short."""
        for text in self._prompt():
            yield from (text,) if self.placeholders is None else self.placeholders.beginnings(text, most)

    def _prompt(self) -> Iterator[bytes]:
        return (bytes(self.fields[key]) for key in self.operation.prompt_fields if key in self.fields)

    def token_limit(self) -> int | None:
        """The client's limit of tokens for the answer, if it set one. Call it before `let_go`."""
        limit = self.operation.limit_field
        text = None if limit is None else given(self.fields, limit)
        return None if text is None else int(text)

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
    model = _model(fields, operation.model_field)
    stream, wants_usage = flag(fields, "stream"), _wants_usage(fields)
    operation.check(fields)
    ignored = _read_parameters(operation.parameters, fields)
    if stream and operation.stream is None:
        refuse("stream", f"{operation.name.capitalize()} cannot be streamed.")
    fields.pop("stream_options", None)
    if stream:
        fields["stream_options"] = _WITH_USAGE
    for key in _NEVER_UPSTREAM:
        fields.pop(key, None)
    return Call(operation, model, stream, wants_usage, fields, ignored, placeholders)


def _read_parameters(parameters: tuple[Parameter, ...], fields: Fields) -> tuple[str, ...]:
    """Checks and mends the parameters of a call in place; returns those that are ignored, for the header."""
    lost = []
    for parameter in parameters:
        name = parameter.name
        if name in fields:
            if bytes(memoryview(fields[name])[:5]) == b"null":
                del fields[name]
            elif parameter.read is not None and parameter.read(fields, name):
                lost.append(name)
                fields.pop(name, None)
    return tuple(lost)


def _model(fields: Fields, key: str) -> str:
    text = given(fields, key)
    if text is None:
        refuse(key, f"`{key}` is required: send one of the ids that GET /v1/models lists.", "missing_value")
    if not text.startswith(b'"') or len(text) < 3:
        refuse(key, f"`{key}` must be a non-empty string.")
    if len(text) > MAX_MODEL_LENGTH:
        refuse(key, f"`{key}` is longer than {MAX_MODEL_LENGTH} characters.")
    model = _decode_text(text)
    if "\ufffd" in model:  # half of a surrogate pair is read as this; no model has it in its name
        refuse(key, f"`{key}` holds a character that is not valid Unicode.")
    return model


def _wants_usage(fields: Fields) -> bool:
    text = given(fields, "stream_options")
    if text is None:
        return False
    options = read_value(text, "stream_options")
    if not isinstance(options, dict) or not isinstance(options.get("include_usage") or False, bool):
        refuse("stream_options", '`stream_options` must be an object such as {"include_usage": true}.')
    return bool(options.get("include_usage"))
