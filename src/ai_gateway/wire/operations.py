"""What the gateway serves by POST: one row per operation, with all that differs between them.

Routes, keys' `routes`, limits, spans, metrics, the audit, the text of a 404, the API's pages and the simulator read
this table. To serve another operation, write a row and the reader of its answers: tests/flow/test_operations.py walks
the table.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from ai_gateway.errors import GatewayError
from ai_gateway.wire import leading, prompts
from ai_gateway.wire.answer import AnswerReader, Shape, read_choices, read_list
from ai_gateway.wire.json_guard import Fields
from ai_gateway.wire.leading import LeadingParts
from ai_gateway.wire.parameters import TABLE, Parameter, parameters_of
from ai_gateway.wire.replies import Headers, error_event, error_reply
from ai_gateway.wire.stream import EventStream
from ai_gateway.wire.usage import PromptKind

# Checks some items of a long list, given as a list. Returns the list to send in its place; None: send it as it came.
ItemsRule = Callable[[bytes], bytes | bytearray | None]


class StreamFormat(msgspec.Struct, frozen=True, kw_only=True):
    """How an answer is streamed: the reader of Ollama's events, and the writer of an error after the 200."""

    read: Callable[[Shape], EventStream]
    write_error: Callable[[GatewayError], bytes]


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """A call and Ollama's answer, as JSON. Tests send it, and the API's page shows it."""

    request: bytes
    answer: bytes


class ApiPage(msgspec.Struct, frozen=True, kw_only=True):
    """The text in docs/openapi.yaml: an id, sentences, and the names of schemas; `event` is the schema of a stream."""

    operation_id: str
    summary: str
    returns: str
    request: str
    answer: str
    event: str | None


class Operation(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One row. No field has a default, so that no operation lacks a part.

    `name` is its word in keys' `routes` and in the tables of the docs. Two rows are never equal.
    """

    name: str
    path: str
    convention: str  # gen_ai.operation.name, see OpenTelemetry's semantic conventions for GenAI
    id_prefix: str  # of an answer's id; "": its answers have none
    model_field: str  # the field of the body that names the model
    prompt_fields: tuple[str, ...]  # the fields of the prompt
    text_field: str  # the one that may be long; an error about the prompt's length names it
    prompt_kind: PromptKind  # how the gateway estimates tokens from bytes
    limit_field: str | None  # caps the tokens of the answer; None: no field does
    writes_tokens: bool  # the model generates text
    parameters: tuple[Parameter, ...]
    check: Callable[[Fields], None]  # of the prompt; it may normalize it; raises InvalidRequest
    check_items: ItemsRule | None  # the same for some items of `text_field`; None: the field is no long list
    leading: LeadingParts | None  # of `text_field`; None: no call goes on with what another one began
    read_answer: AnswerReader  # of a whole answer, with its usage
    stream: StreamFormat | None  # None: it cannot stream
    write_error: Callable[[GatewayError], tuple[int, Headers, bytes]]
    example: Example
    page: ApiPage


_RETURNS: Final = "The answer; with `stream` one server-sent event per chunk."
_EVENTS: Final = StreamFormat(read=EventStream, write_error=error_event)

CHAT: Final = Operation(
    name="chat",
    path="/v1/chat/completions",
    convention="chat",
    id_prefix="chatcmpl-",
    model_field="model",
    prompt_fields=("messages",),
    text_field="messages",
    prompt_kind="messages",
    limit_field="max_tokens",
    writes_tokens=True,
    parameters=parameters_of("all", "both", "chat"),
    check=prompts.check_chat,
    check_items=prompts.normalize,
    leading=leading.of_messages,
    read_answer=read_choices,
    stream=_EVENTS,
    write_error=error_reply,
    example=Example(
        request=b'{"model":"llama3","messages":[{"role":"user","content":"Say hello."}],"max_tokens":8}',
        answer=b'{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"llama3:latest","choices":'
        b'[{"index":0,"message":{"role":"assistant","content":"Hello."},"finish_reason":"stop"}],'
        b'"usage":{"prompt_tokens":12,"completion_tokens":2,"total_tokens":14}}',
    ),
    page=ApiPage(
        operation_id="createChatCompletion",
        summary="Write the next message of a chat, whole or as a stream",
        returns=_RETURNS,
        request="ChatRequest",
        answer="ChatCompletion",
        event="ChatEvent",
    ),
)

COMPLETIONS: Final = Operation(
    name="completions",
    path="/v1/completions",
    convention="text_completion",
    id_prefix="cmpl-",
    model_field="model",
    prompt_fields=("prompt",),
    text_field="prompt",
    prompt_kind="text",
    limit_field="max_tokens",
    writes_tokens=True,
    parameters=parameters_of("all", "both", "completions"),
    check=prompts.check_completions,
    check_items=None,
    leading=leading.of_text,
    read_answer=read_choices,
    stream=_EVENTS,
    write_error=error_reply,
    example=Example(
        request=b'{"model":"coder","prompt":"def double(x):","max_tokens":8}',
        answer=b'{"id":"cmpl-1","object":"text_completion","created":1700000000,"model":"codellama:13b","choices":'
        b'[{"index":0,"text":" return 2 * x","finish_reason":"stop"}],'
        b'"usage":{"prompt_tokens":6,"completion_tokens":6,"total_tokens":12}}',
    ),
    page=ApiPage(
        operation_id="createCompletion",
        summary="Continue a text, whole or as a stream",
        returns=_RETURNS,
        request="CompletionRequest",
        answer="Completion",
        event="CompletionEvent",
    ),
)

EMBEDDINGS: Final = Operation(
    name="embeddings",
    path="/v1/embeddings",
    convention="embeddings",
    id_prefix="",
    model_field="model",
    prompt_fields=("input",),
    text_field="input",
    prompt_kind="texts",
    limit_field=None,
    writes_tokens=False,
    parameters=parameters_of("all", "embeddings"),
    check=prompts.check_embeddings,
    check_items=prompts.check_inputs,
    leading=None,
    read_answer=read_list("data", "embeddings"),
    stream=None,
    write_error=error_reply,
    example=Example(
        request=b'{"model":"embed","input":["first text","second text"]}',
        answer=b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.6,0.8]},'
        b'{"object":"embedding","index":1,"embedding":[0.8,0.6]}],"model":"nomic-embed-text",'
        b'"usage":{"prompt_tokens":6,"total_tokens":6}}',
    ),
    page=ApiPage(
        operation_id="createEmbedding",
        summary="Turn texts into vectors",
        returns="One vector per text, in the order of the texts.",
        request="EmbeddingRequest",
        answer="EmbeddingList",
        event=None,
    ),
)

_ROWS: Final = (CHAT, COMPLETIONS, EMBEDDINGS)  # in the order in which the docs list them
OPERATIONS: Final[Mapping[str, Operation]] = MappingProxyType({row.name: row for row in _ROWS})
BY_PATH: Final[Mapping[str | None, Operation]] = MappingProxyType({row.path: row for row in _ROWS})
# All parameters of all operations, each once: first the table's, then those of single rows.
KNOWN_PARAMETERS: Final = tuple(dict.fromkeys((*TABLE, *(one for row in _ROWS for one in row.parameters))))
