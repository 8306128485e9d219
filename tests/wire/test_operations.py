"""The table of operations: no row lacks a part, and the parts of a row fit together."""

import json

import msgspec
import pytest

from ai_gateway.errors import InvalidRequest
from ai_gateway.wire.answer import BadAnswer, Shape, read_answer
from ai_gateway.wire.call import read_call
from ai_gateway.wire.operations import BY_PATH, KNOWN_PARAMETERS, OPERATIONS, Operation
from ai_gateway.wire.usage import measure

ROWS = pytest.mark.parametrize("row", OPERATIONS.values(), ids=OPERATIONS)


def test_a_row_without_one_of_its_parts_cannot_be_written() -> None:
    """No field has a default."""
    fields = msgspec.structs.fields(Operation)
    assert [field.name for field in fields if not field.required] == []
    with pytest.raises(TypeError):
        Operation(name="rerank", path="/v1/rerank")  # type: ignore[call-arg]  # that is the point


def test_names_and_paths_are_told_apart() -> None:
    """A word of keys' `routes` and a path mean one operation."""
    assert [row.name for row in OPERATIONS.values()] == list(OPERATIONS)
    assert len(BY_PATH) == len(OPERATIONS)
    assert not {"models", "audit"} & set(OPERATIONS)


@ROWS
def test_the_fields_that_a_row_names_are_parameters_of_its_own(row: Operation) -> None:
    """So they are in the docs, and one that is misspelt by case alone is refused."""
    known = {parameter.name for parameter in row.parameters}
    assert {row.model_field, row.text_field, *row.prompt_fields} <= known
    assert row.limit_field is None or row.limit_field in known
    assert row.text_field in row.prompt_fields
    assert set(row.parameters) <= set(KNOWN_PARAMETERS)


@ROWS
def test_a_row_reads_its_own_example(row: Operation) -> None:
    """The call is complete, and goes upstream under Ollama's name; a limit is capped where something can be."""
    asked = json.loads(row.example.request)
    call = read_call(row, row.example.request)
    assert (call.operation, call.model, call.ignored) == (row, asked[row.model_field], ())
    assert json.loads(b"[%b]" % b",".join(call.prompt())) == [asked[key] for key in row.prompt_fields]
    sent = json.loads(b"".join(call.upstream(7).naming("theirs:latest")))
    assert sent[row.model_field] == "theirs:latest"
    assert (row.limit_field in sent) == (row.limit_field is not None)
    assert (call.token_limit() is not None) == (row.limit_field is not None and row.limit_field in asked)


@ROWS
@pytest.mark.parametrize("value", [None, 7, [], {}])
def test_a_call_without_a_sound_text_is_refused_by_the_name_of_the_field(row: Operation, value: object) -> None:
    """The gateway says so itself; it does not fail on it."""
    body = json.dumps({**json.loads(row.example.request), row.text_field: value}).encode()
    with pytest.raises(InvalidRequest) as caught:
        read_call(row, body)
    assert (caught.value.param, caught.value.error_status) == (row.text_field, 400)


@ROWS
def test_an_answer_gets_the_gateways_id_and_the_asked_model(row: Operation) -> None:
    """The rest is Ollama's, and its usage is found."""
    theirs = json.loads(row.example.answer)
    answer = read_answer(row.read_answer, row.example.answer, Shape(f"{row.id_prefix}ours", "asked"))
    ours = {"id": f"{row.id_prefix}ours"} if row.id_prefix else {}
    assert json.loads(answer.body) == {**theirs, **ours, "model": "asked"}
    assert ("id" in theirs) == bool(row.id_prefix)
    assert answer.usage is not None
    assert answer.usage.input_tokens == theirs["usage"]["prompt_tokens"]
    assert (answer.usage.output_tokens > 0) == row.writes_tokens == (answer.written > 0)
    assert measure(row.prompt_kind, row.example.request).most_tokens >= answer.usage.input_tokens


@ROWS
@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"null", b"<html>", b'{"error":"it broke"}'])
def test_what_is_no_answer_is_found_out(row: Operation, body: bytes) -> None:
    with pytest.raises(BadAnswer):
        read_answer(row.read_answer, body, Shape("ours", "asked"))


@ROWS
def test_a_stream_is_refused_where_nothing_reads_one(row: Operation) -> None:
    body = json.dumps({**json.loads(row.example.request), "stream": True}).encode()
    if row.stream is not None:
        assert read_call(row, body).stream
        return
    with pytest.raises(InvalidRequest) as caught:
        read_call(row, body)
    assert (caught.value.param, caught.value.error_code) == ("stream", "invalid_value")
