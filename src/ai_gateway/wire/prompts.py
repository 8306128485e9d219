"""What a model is asked: checks the field that a call is about, and normalizes it. One function per operation.

Each raises InvalidRequest, with `param`. Rules come from ollama/ollama openai/openai.go (FromChatRequest);
tests/ollama holds them against a real one.
"""

from typing import Any, Final

import msgspec

from ai_gateway.wire.content import EMPTY, Content, normalized_content
from ai_gateway.wire.fields import NULL, Run, given, read_value, refuse, refuse_shape, runs
from ai_gateway.wire.json_guard import Fields
from ai_gateway.wire.tool_calls import from_function_call, normalized_calls

Changes = dict[str, msgspec.Raw | None]  # by key; None takes the key away

_QUOTE: Final = ord('"')
_PLAIN_ROLES: Final = frozenset(("system", "user", "assistant", "tool"))
_MAY_BE_EMPTY: Final = frozenset(("assistant", "tool", "function"))


class Message(msgspec.Struct, frozen=True, gc=False):
    """The keys of a message that the gateway reads; Ollama's Go types are as strict. Other keys pass unread."""

    role: str
    content: msgspec.Raw = NULL
    tool_calls: msgspec.Raw = NULL
    function_call: msgspec.Raw = NULL
    refusal: msgspec.Raw = NULL
    name: str | None = None
    tool_call_id: str | None = None
    reasoning: str | None = None


_messages: Final = msgspec.json.Decoder(list[Message])
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_fields = msgspec.json.Decoder(Fields).decode
_encode = msgspec.json.Encoder().encode


def normalize(text: bytes) -> bytearray | None:
    """New JSON text for a list of messages, or None if nothing has to change. Raises InvalidRequest."""
    normalized: bytearray | None = None
    first = 0
    try:
        for run in runs(text, _messages):
            changes = _changes_of(run, first)
            first += len(run.items)
            if changes and normalized is None:
                normalized = bytearray(memoryview(text)[: run.at])
            elif normalized is not None:
                normalized += b","
            if normalized is not None:
                normalized += _changed(run.text, changes) if changes else memoryview(run.text)[1:-1]
    except msgspec.ValidationError as error:
        refuse_shape(error, "messages", first)
    if normalized is not None:
        normalized += b"]"
    return normalized


def _changes_of(run: Run[Message], first: int) -> dict[int, Changes]:
    found = {}
    for index, message in enumerate(run.items):
        # Most messages are like this; nothing in them can be wrong.
        if (
            message.role in _PLAIN_ROLES
            and memoryview(message.content)[0] == _QUOTE
            and message.tool_calls is NULL
            and message.function_call is NULL
        ):
            continue
        if changes := _changes(message, f"messages[{first + index}]"):
            found[index] = changes
    return found


def _changed(text: bytes, changes: dict[int, Changes]) -> bytes:
    """The items of a run with some of them changed, without its brackets."""
    items: list[Any] = _decode_items(text)
    for index, changed in changes.items():
        fields = items[index] = _decode_fields(items[index])
        for key, value in changed.items():
            if value is None:
                fields.pop(key, None)
            else:
                fields[key] = value
    return _encode(items)[1:-1]


def _changes(message: Message, path: str) -> Changes:
    role = message.role.lower()  # as Ollama does
    changes = _role(message, role, path)
    count = 0
    if message.tool_calls is not NULL:
        calls = normalized_calls(message.tool_calls, f"{path}.tool_calls")
        count = calls.count
        if calls.changed:
            changes["tool_calls"] = calls.text
    if message.function_call != NULL and role == "assistant" and not count:
        calls = from_function_call(message.function_call, f"{path}.function_call")
        count = calls.count
        changes |= {"tool_calls": calls.text, "function_call": None}
    first = memoryview(message.content)[0]
    if first == ord("n"):
        if not count:
            changes["content"] = _empty_content(message, role, path)
    elif first != _QUOTE:
        content = normalized_content(Content(message.content, role, bool(count)), f"{path}.content")
        if content is not None:
            changes["content"] = content
    return changes


def _role(message: Message, role: str, path: str) -> Changes:
    if role == "developer":  # Ollama's templates would silently drop such a message
        return {"role": msgspec.Raw(b'"system"')}
    if role == "function":  # the older name of `tool`; Ollama accepts a name as well as an id
        if not message.name:
            refuse(f"{path}.name", f"`{path}.name` is missing: name the function that answered.", "missing_value")
        return {"role": msgspec.Raw(b'"tool"')}
    if not role:
        refuse(f"{path}.role", f"`{path}.role` must not be empty.")
    return {}


def _empty_content(message: Message, role: str, path: str) -> msgspec.Raw:
    """The content for a message without any."""
    if memoryview(message.refusal)[0] == _QUOTE and role == "assistant":
        return message.refusal
    if role not in _MAY_BE_EMPTY:
        refuse(f"{path}.content", f"`{path}.content` is missing or null: put the text of the message there.")
    return EMPTY


_decode_only: Final = msgspec.json.Decoder(tuple[str]).decode


def check_chat(fields: Fields) -> None:
    """A list of messages, normalized where Ollama would misread one."""
    text = given(fields, "messages")
    if text is None:
        refuse("messages", "`messages` is required.", "missing_value")
    if not text.startswith(b"[") or not text[1:-1].strip():
        refuse("messages", "`messages` must be a list with at least one message.")
    normalized = normalize(text)
    if normalized is not None:
        fields["messages"] = msgspec.Raw(normalized)


def check_completions(fields: Fields) -> None:
    """One text."""
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


def check_embeddings(fields: Fields) -> None:
    """A text or a list of texts, and how the vectors are to be written."""
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
