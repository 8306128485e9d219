"""What a call shows of its conversation, as digests: a call that goes on where another one ended finds its endpoint,
which may still have in memory what the model read then.

A digest is made of the caller, the model, and one of these, the first that there is: the client's `prompt_cache_key`,
a header that the config names, the leading parts of the prompt. So no call matches one of another caller or model.
"""

import hashlib
from collections.abc import Generator
from typing import Final

import msgspec

from ai_gateway.wire.call import Call
from ai_gateway.wire.fields import given
from ai_gateway.wire.json_guard import Fields
from ai_gateway.wire.leading import Digest

DIGEST_BYTES: Final = 16
MAX_NAME_BYTES: Final = 1024  # of a client's own name for its conversation; a longer one is none

Kind = bytes  # what a digest is made of; at most 16 bytes

_KEY: Final[Kind] = b"prompt_cache_key"
_HEADER: Final[Kind] = b"header"
_PROMPT: Final[Kind] = b"prompt"
_USER: Final[Kind] = b"user"


class Conversation(msgspec.Struct, frozen=True, gc=False):
    """The digests of one call. They are equal in all gateways.

    `keys` are those to look up, the longest part of the conversation first. `own` is the one to remember: the next
    call of the conversation has it among its keys. `first` stays the same in each call of a conversation, so that
    gateways that do not know it choose alike.
    """

    keys: tuple[bytes, ...]
    own: bytes
    first: bytes


def conversation_of(
    call: Call, caller: str, model: str, header: tuple[str, bytes] | None = None
) -> Generator[int, None, Conversation | None]:
    """The conversation of a call, in steps; None if the operation has none. Use it before `Call.let_go`.

    `caller` is the caller's scope and `model` Ollama's name, so that an alias is the same model. `header` is the name
    and the value of the first header of the config's that the request has.
    """
    operation = call.operation
    if operation.leading is None:
        return None
    name = _name(call.fields, "prompt_cache_key")
    if name is not None:
        return _named(_begun(_KEY, caller, model), name)
    if header is not None and 0 < len(header[1]) <= MAX_NAME_BYTES:
        return _named(_begun(_HEADER, caller, model), b"%b:%b" % (header[0].encode(), header[1]))
    prompt = call.fields[operation.text_field]
    leading = yield from operation.leading(prompt, call.placeholders, _begun(_PROMPT, caller, model))
    if not leading.ends:
        return None
    return Conversation(leading.ends, leading.ends[0], _with_user(leading.first, call.fields))


def _with_user(first: bytes, fields: Fields) -> bytes:
    """`first` for one user. `user` names a person, who may have many conversations, so it never is a key: they would
    all wait for the same few slots. But people behind one API key often begin alike ("Hello"), and their conversations
    need not begin at the same endpoint."""
    user = _name(fields, "user")
    if user is None:
        return first
    return hashlib.blake2b(first + user, digest_size=DIGEST_BYTES, person=_USER).digest()


def _named(digest: Digest, name: bytes) -> Conversation:
    """A conversation that the client has named: its prompt no longer counts."""
    digest.update(name)
    key = digest.digest()
    return Conversation((key,), key, key)


def _begun(kind: Kind, caller: str, model: str) -> Digest:
    scope = f"{len(caller)}:{caller}{model}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(b"%d:%b" % (len(scope), scope), digest_size=DIGEST_BYTES, person=kind)


def _name(fields: Fields, key: str) -> bytes | None:
    """A text that is not empty, as JSON."""
    text = given(fields, key) if key in fields else None
    return text if text is not None and text.startswith(b'"') and 2 < len(text) <= MAX_NAME_BYTES else None
