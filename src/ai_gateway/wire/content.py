"""The content of one message: a text, or a list of parts. Ollama makes a message of each part."""

from typing import Final

import msgspec

from ai_gateway.wire.fields import NULL, refuse, refuse_many, refuse_shape, runs

EMPTY: Final = msgspec.Raw(b'""')

_QUOTE: Final = ord('"')
_IMAGES: Final = (
    b'"data:;base64,', *(b'"data:image/%b;base64,' % kind for kind in (b"png", b"jpeg", b"jpg", b"webp")),
)  # fmt: skip
_ONE_TEXT: Final = frozenset(("assistant", "tool", "function"))  # the gateway may have to join their parts
_HEAD_BYTES: Final = 128  # of an image's URL; they name its type
MAX_PARTS: Final = 1024  # of one message: they are all checked in one step, and others wait that long


class Content(msgspec.Struct, frozen=True, gc=False):
    """The content of a message as the client sent it, with the facts that decide how to read it."""

    text: msgspec.Raw
    role: str
    has_calls: bool


class _Part(msgspec.Struct, frozen=True, gc=False):
    type: str
    text: msgspec.Raw = NULL
    image_url: msgspec.Raw = NULL
    input_audio: msgspec.Raw = NULL
    refusal: msgspec.Raw = NULL


class _Image(msgspec.Struct, frozen=True, gc=False):
    url: msgspec.Raw


class _Audio(msgspec.Struct, frozen=True, gc=False):
    data: str


_parts: Final = msgspec.json.Decoder(list[_Part])
_decode_text = msgspec.json.Decoder(str).decode
_decode_image = msgspec.json.Decoder(_Image).decode
_decode_audio = msgspec.json.Decoder(_Audio).decode
_encode = msgspec.json.Encoder().encode


def normalized_content(content: Content, path: str) -> msgspec.Raw | None:
    """New JSON text for a content that is neither a text nor null; None if it stays as it is. Raises InvalidRequest."""
    if memoryview(content.text)[0] != ord("["):
        refuse(path, f"`{path}` must be a string or a list of parts.")
    return _normalized_parts(content, path)


def _normalized_parts(content: Content, path: str) -> msgspec.Raw | None:
    """Joins the parts of a tool's answer into one text: Ollama keeps the call's id only beside a text."""
    texts: list[str] = []
    count, has_refusal = 0, False
    may_be_one = content.role in _ONE_TEXT
    try:
        for run in runs(bytes(content.text), _parts):
            refuse_many(count + len(run.items), MAX_PARTS, "parts", path)
            for part in run.items:
                text = _checked(part, f"{path}[{count}]")
                has_refusal |= part.type == "refusal"
                count += 1
                if may_be_one and text is not None:
                    texts.append(_decode_text(text))
    except msgspec.ValidationError as error:
        refuse_shape(error, path, count)
    if not count:
        return _nothing(content, path)
    if len(texts) == count and (has_refusal or content.role != "assistant"):
        return msgspec.Raw(_encode("".join(texts)))
    if has_refusal:
        refuse(path, f"`{path}` must hold a refusal of an assistant alone, without images or sounds.")
    return None


def _nothing(content: Content, path: str) -> msgspec.Raw:
    """The content for an empty list. Ollama would make no message of it and add the calls to the message before."""
    if not content.has_calls and content.role not in _ONE_TEXT:
        refuse(path, f"`{path}` must not be an empty list.")
    return EMPTY


def _checked(part: _Part, path: str) -> msgspec.Raw | None:
    """The text of a text part. Raises InvalidRequest for a part that Ollama does not read."""
    if part.type in ("text", "refusal"):
        text = part.text if part.type == "text" else part.refusal
        if memoryview(text)[0] != _QUOTE:
            refuse(f"{path}.{part.type}", f"`{path}.{part.type}` must be a string.")
        return text
    if part.type == "image_url":
        _check_image(part.image_url, f"{path}.image_url")
    elif part.type == "input_audio":
        try:
            _decode_audio(part.input_audio)
        except msgspec.ValidationError as error:
            refuse_shape(error, f"{path}.input_audio")
    else:
        refuse(
            f"{path}.type",
            f"`{path}.type` is {part.type[:64]!r}: Ollama reads parts of type text, image_url and input_audio.",
        )
    return None


def _check_image(raw: msgspec.Raw, path: str) -> None:
    """Ollama fetches no URL, and fetching for a client would reach into the cluster."""
    url = raw
    if memoryview(raw)[0] != _QUOTE:
        try:
            url = _decode_image(raw).url
        except msgspec.ValidationError as error:
            refuse_shape(error, path)
    if memoryview(url)[0] != _QUOTE:
        refuse(f"{path}.url", f"`{path}.url` must be a string.")
    head = bytes(memoryview(url)[:_HEAD_BYTES]).replace(b"\\/", b"/")  # as PHP writes it
    if head.startswith(_IMAGES):
        return
    if b"\\" in head:
        head = b'"' + _decode_text(url)[:_HEAD_BYTES].encode()
    if not head.startswith(b'"data:'):
        refuse(
            path,
            "Ollama takes images as data: URLs only; download the image and send it as base64.",
            "image_url_unsupported",
        )
    if not head.startswith(_IMAGES):
        refuse(path, f"`{path}` must begin with data:image/png;base64, (or jpeg, jpg, webp): Ollama reads only these.")
