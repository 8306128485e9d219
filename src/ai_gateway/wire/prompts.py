"""What a model is asked: the field that a call is about, checked and mended. One function per operation.

Each raises InvalidRequest, with `param`. Rules come from ollama/ollama openai/openai.go.
"""

from typing import Final

import msgspec

from ai_gateway.wire import messages
from ai_gateway.wire.fields import given, read_value, refuse
from ai_gateway.wire.json_guard import Fields

_encode = msgspec.json.Encoder().encode
_decode_only: Final = msgspec.json.Decoder(tuple[str]).decode


def check_chat(fields: Fields) -> None:
    """A list of messages, mended where Ollama would misread one."""
    text = given(fields, "messages")
    if text is None:
        refuse("messages", "`messages` is required.", "missing_value")
    if not text.startswith(b"[") or not text[1:-1].strip():
        refuse("messages", "`messages` must be a list with at least one message.")
    mended = messages.normalize(text)
    if mended is not None:
        fields["messages"] = msgspec.Raw(mended)


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
