"""Bodies that cost more to read than they weigh, one of each kind, and an endpoint that takes them unread."""

from collections.abc import Callable, Mapping
from typing import Final

from tests.flow.upstream import Visit, answer, whole

MIB: Final = 1 << 20

CHAT_PATH: Final = "/v1/chat/completions"
EMBEDDINGS_PATH: Final = "/v1/embeddings"


def listed(unit: bytes, size: int, key: bytes = b"messages") -> bytes:
    """A body of about this size whose list repeats one item."""
    count = max(1, size // (len(unit) + 1))
    return b'{"model":"llama3","%b":[%b]}' % (
        key,
        b",".join([unit]) if count == 1 else (unit + b",") * (count - 1) + unit,
    )


def beside(value: bytes, key: bytes = b"x_unread") -> bytes:
    """A chat body with one more value."""
    return b'{"model":"llama3","messages":[{"role":"user","content":"Hi"}],"%b":%b}' % (key, value)


def _text(letters: bytes, size: int) -> bytes:
    return b'"' + letters * (size // len(letters)) + b'"'


def _message(letters: bytes, size: int) -> bytes:
    text = _text(letters, size)
    return b'{"model":"llama3","messages":[{"role":"developer","content":%b},{"role":"user","content":"Hi"}]}' % text


def _keys(size: int) -> bytes:
    return beside(b"1")[:-1] + b"".join(b',"k%d":1' % number for number in range(size // 14)) + b"}"


def _repeated(item: bytes, size: int) -> bytes:
    return b",".join([item] * (size // (len(item) + 1)))


def _parts(part: bytes) -> Callable[[int], bytes]:
    """A maker of a body with one message, all of whose parts are this one."""
    return lambda size: b'{"model":"llama3","messages":[{"role":"developer","content":[%b]}]}' % _repeated(part, size)


_PARTS: Final = {
    "parts": b'{"type":"text","text":"a"}',
    "images": b'{"type":"image_url","image_url":{"url":"data:image\\/png;base64,"}}',
    "sounds": b'{"type":"input_audio","input_audio":{"data":""}}',
}


# By what it is: the path, the status that it must get, and the body of about so many bytes.
KINDS: Final[Mapping[str, tuple[str, int, Callable[[int], bytes]]]] = {
    'inputs of "a"': (EMBEDDINGS_PATH, 200, lambda size: listed(b'"a"', size, b"input")),
    "inputs of empty lists": (EMBEDDINGS_PATH, 400, lambda size: listed(b"[]", size, b"input")),
    "inputs of token ids": (EMBEDDINGS_PATH, 400, lambda size: listed(b"[1,2,3]", size, b"input")),
    "inputs of objects": (EMBEDDINGS_PATH, 400, lambda size: listed(b"{}", size, b"input")),
    "developer messages": (CHAT_PATH, 200, lambda size: listed(b'{"role":"developer","content":"x"}', size)),
    "messages with an escape each": (CHAT_PATH, 200, lambda size: listed(b'{"role":"user","content":"\\u0041"}', size)),
    **{f"one message of many {kind}": (CHAT_PATH, 400, _parts(part)) for kind, part in _PARTS.items()},
    "one message of many tool calls": (
        CHAT_PATH,
        400,
        lambda size: (
            b'{"model":"llama3","messages":[{"role":"assistant","content":"","tool_calls":[%b]}]}'
            % _repeated(b'{"id":"a","type":"function","function":{"name":"f","arguments":{}}}', size)
        ),
    ),
    "messages of a tool call": (
        CHAT_PATH,
        200,
        lambda size: listed(b'{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":{}}}]}', size),
    ),
    "messages without a content": (CHAT_PATH, 200, lambda size: listed(b'{"role":"tool","content":[]}', size)),
    "many tools": (
        CHAT_PATH,
        400,
        lambda size: beside(b"[%b]" % _repeated(b'{"type":"function","function":{"name":"f"}}', size), b"tools"),
    ),
    "an image": (
        CHAT_PATH,
        200,
        lambda size: (
            b'{"model":"llama3","messages":[{"role":"user","content":[{"type":"image_url","image_url":'
            b'{"url":"data:image/png;base64,%b"}}]}]}' % (b"iVBO" * (size // 4))
        ),
    ),
    "one long text of escapes": (CHAT_PATH, 200, lambda size: _message(b"\\u0041", size)),
    "one long text of quotes": (CHAT_PATH, 200, lambda size: _message(b'\\"', size)),
    "one long text of backslashes": (CHAT_PATH, 200, lambda size: _message(b"\\\\", size)),
    "one long text of characters of four bytes": (CHAT_PATH, 200, lambda size: _message("🏔".encode(), size)),
    "nesting 30 deep": (
        CHAT_PATH,
        200,
        lambda size: beside(b"[" + (b"[" * 29 + b"]" * 29 + b",") * (size // 59) + b"1]"),
    ),
    "objects 30 deep": (
        CHAT_PATH,
        200,
        lambda size: beside(b"[" + (b'{"a":' * 29 + b"1" + b"}" * 29 + b",") * (size // 176) + b"1]"),
    ),
    "lists in a key that nobody reads": (CHAT_PATH, 200, lambda size: beside(b"[" + b"[]," * (size // 3) + b"1]")),
    "numbers": (CHAT_PATH, 200, lambda size: beside(b"[" + b"1," * (size // 2) + b"1]")),
    "texts full of brackets": (CHAT_PATH, 200, lambda size: beside(b"[" + b'"[{,",' * (size // 6) + b"1]")),
    "blanks between keys": (CHAT_PATH, 200, lambda size: beside(b" " * size + b"1")),
    "blanks within a list": (CHAT_PATH, 400, lambda size: beside(b"[" + b" " * size + b"1]")),
    "one long number": (CHAT_PATH, 400, lambda size: beside(b"1" * size)),
    "keys by the hundred thousand": (CHAT_PATH, 400, _keys),
    "keys with escapes, deep": (
        CHAT_PATH,
        200,
        lambda size: beside(b"{" + b",".join(b'"\\u0041%d":1' % number for number in range(size // 18)) + b"}"),
    ),
    "a doubled last key": (CHAT_PATH, 400, lambda size: beside(_text(b"x", size))[:-1] + b',"model":"llama3"}'),
    "tools that are too many to read": (
        CHAT_PATH,
        400,
        lambda size: beside(b"[" + b"{}," * (size // 3) + b"{}]", b"tools"),
    ),
    "broken at its end": (CHAT_PATH, 400, lambda size: listed(b"[]", size)[:-1]),
    "100,000 levels": (CHAT_PATH, 400, lambda size: beside(b"[" * (size // 2) + b"]" * (size // 2))),
}


EMBEDDED: Final = b'{"object":"list","data":[{"object":"embedding","embedding":[0.1],"index":0}],"model":"m"}'


async def take_unread(visit: Visit) -> None:
    """Answers well without looking at what came."""
    body = EMBEDDED if "embeddings" in visit.path else answer()
    visit.body = b""
    await visit.say(whole(body))
