"""The messages of a chat: what Ollama would drop or must not fetch is mended or refused; all else stays as it is."""

from typing import Any

import msgspec

from ai_gateway.errors import InvalidRequest

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


# Ollama lowers the case of roles; an escape may hide either word.
_MARKS = (b"eveloper", b"EVELOPER", b"image_url", b"\\u")


def mend(text: bytes) -> bytes | None:
    """New JSON text for a list of messages, or None where nothing has to change.

    Role `developer` becomes `system` (Ollama does not know it). An image by http(s) URL is refused: Ollama
    fetches none, and fetching for a client would reach into the cluster. Raises InvalidRequest.
    """
    # A list that names neither, also not by an escape, is most of the traffic and is left unread.
    if not any(mark in text for mark in _MARKS):
        return None
    try:
        messages: Any = _decode(text)
    except msgspec.DecodeError as error:  # a number beyond what a float holds
        raise InvalidRequest(f"`messages` cannot be read: {error}.", code="invalid_value", param="messages") from None
    changed = False
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            continue
        if isinstance(message.get("role"), str) and message["role"].lower() == "developer":
            message["role"] = "system"
            changed = True
        _refuse_remote_images(message.get("content"), f"messages[{index}].content")
    return _encode(messages) if changed else None


def _refuse_remote_images(content: Any, path: str) -> None:
    if not isinstance(content, list):
        return
    for index, part in enumerate(content):
        image = part.get("image_url") if isinstance(part, dict) else None
        url = image.get("url") if isinstance(image, dict) else image
        if isinstance(url, str) and not url.startswith("data:"):
            raise InvalidRequest(
                "Images are taken as data: URLs only; download the image and send it as base64.",
                code="image_url_unsupported",
                param=f"{path}[{index}].image_url",
            )
