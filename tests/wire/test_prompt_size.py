"""The size of a prompt, measured from its body."""

import base64
import json
import os
from functools import partial
from typing import Any

import pytest
from tests.cost import assert_cheap

from ai_gateway.wire.operations import CHAT, COMPLETIONS, EMBEDDINGS, OPERATIONS
from ai_gateway.wire.usage import MOST_MEDIA, TOKENS_PER_INPUT, Measuring, PromptSize, measure

PICTURE = base64.b64encode(os.urandom(30_000)).decode()


def chat(*contents: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": one} for one in contents]}).encode()


def test_messages_and_inputs_are_counted() -> None:
    """A text that looks like a message does not count as one."""
    assert measure(CHAT.prompt_kind, chat("a", "b", '"role": "user"')).inputs == 3
    assert measure(CHAT.prompt_kind, b"{}").inputs == 1
    assert measure(COMPLETIONS.prompt_kind, b'{"model":"m","prompt":"a"}') == PromptSize(26)
    inputs = json.dumps({"model": "m", "input": ["a", "b", "c"]}).encode()
    assert 3 <= measure(EMBEDDINGS.prompt_kind, inputs).inputs <= 6
    assert measure(CHAT.prompt_kind, chat("hello")).most_tokens == len(chat("hello")) + TOKENS_PER_INPUT


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}},
        {"type": "image_url", "image_url": f"data:image/png;base64,{PICTURE}"},
        {"type": "input_audio", "input_audio": {"data": PICTURE, "format": "wav"}},
        {"type": "input_audio", "input_audio": {"format": "wav", "data": PICTURE}},
    ],
)
def test_the_bytes_of_images_and_audio_are_no_text(part: dict[str, Any]) -> None:
    """Each is one more input."""
    words = {"type": "text", "text": "what is this?"}
    size = measure(CHAT.prompt_kind, chat([words, part]))
    assert (size.inputs, size.media) == (1, 1)
    assert size.text_bytes == len(chat([words, part])) - len(PICTURE) - (0 if "input_audio" in part else 8)
    assert measure(CHAT.prompt_kind, chat([words, part], [part, part])).media == 3


def test_a_body_of_a_mebibyte_is_not_searched() -> None:
    assert measure(CHAT.prompt_kind, b"x" * (2 << 20)) == PromptSize(2 << 20, 1, 1)


def test_measuring_is_cheap_for_any_body() -> None:
    """In the event loop: of this thread's CPU."""
    for body in (b'"role"' * 170_000, b";base64," * 130_000, b'"input_audio"' * 80_000, b'"' * (1 << 20)):
        for operation in ("chat", "embeddings", "completions"):
            kind = OPERATIONS[operation].prompt_kind
            size = measure(kind, body)
            assert_cheap(partial(measure, kind, body), 0.05)
            assert size.media <= MOST_MEDIA
            assert size.text_bytes >= 0


@pytest.mark.parametrize("window", [997, 4096, 1 << 16])
def test_a_body_that_comes_in_windows_has_the_same_size(window: int) -> None:
    """An image goes on from one to the next."""
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}}
    sound = {"type": "input_audio", "input_audio": {"data": PICTURE, "format": "wav"}}
    body = chat("a", [image, {"type": "text", "text": "what?"}], "b" * 2000, [sound], "c")
    measuring = Measuring()
    for at in range(0, len(body), window):
        measuring.feed(body[at : at + window])
    assert measuring.size(CHAT.prompt_kind) == measure(CHAT.prompt_kind, body)
    assert measure(CHAT.prompt_kind, body).media == 2
    assert measure(CHAT.prompt_kind, body).text_bytes < len(body) - 2 * len(PICTURE) + 1
