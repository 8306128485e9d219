"""The table of parameters has the treatment of each of OpenAI's."""

import inspect
import json
from typing import Any

import pytest
from openai.resources.chat.completions import Completions as Chat
from openai.resources.completions import Completions
from openai.resources.embeddings import Embeddings

from ai_gateway.errors import InvalidRequest
from ai_gateway.wire.call import Call, read_call
from ai_gateway.wire.operations import OPERATIONS
from ai_gateway.wire.parameters import Parameter, Treatment
from ai_gateway.wire.tools import MAX_TOOLS

TOOLS = [{"type": "function", "function": {"name": name}} for name in ("f", "g", "h")]
MINIMAL: dict[str, dict[str, Any]] = {
    **{row.name: json.loads(row.example.request) for row in OPERATIONS.values()},
    "chat": {"model": "m", "messages": [{"role": "user", "content": "x"}], "tools": TOOLS},
    "completions": {"model": "m", "prompt": "x"},
    "embeddings": {"model": "m", "input": "x"},
}
# A value that asks for something, where the table's treatment shows; and some that ask for nothing.
VALUES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "temperature": (0.5, ()), "top_p": (1, ()), "frequency_penalty": (-2.0, ()), "presence_penalty": (2, ()),
    "seed": (-7, ()), "response_format": ({"type": "json_object"}, ()), "tools": (TOOLS, ()),
    "top_logprobs": (3, ()), "suffix": ("x", ()), "encoding_format": ("base64", ()), "dimensions": (3, ()),
    "input": (["x"], ()), "stream": (False, ()),
    "tool_choice": ("required", ("auto",)), "parallel_tool_calls": (False, (True,)), "verbosity": ("low", ("medium",)),
    "logit_bias": ({"1": 2}, ({}, [])), "audio": ({"voice": "x"}, ()), "moderation": ({}, ()),
    "store": (True, (False,)),
    "service_tier": ("flex", ("auto", "default")), "options": ({"num_ctx": 1}, ({},)), "keep_alive": (-1, ()),
    "format": ("json", ("",)), "think": (False, ()), "top_k": (40, ()), "min_p": (0.1, ()), "repeat_penalty": (1, ()),
    "n": (2, (1, 1.0)), "best_of": (2, (1, 1.0, 0)), "echo": (True, (False,)), "functions": ([{"name": "f"}], ([],)),
    "function_call": ({"name": "f"}, ("none", "auto")), "modalities": (["text", "audio"], (["text"],)),
    "web_search_options": ({}, ()), "user": ("u", ()), "metadata": ({"a": "b"}, ()), "safety_identifier": ("s", ()),
    "prompt_cache_key": ("k", ()), "prompt_cache_retention": ("24h", ()), "prompt_cache_options": ({}, ()),
    "prediction": ({"type": "content", "content": "x"}, ()),
}  # fmt: skip
BY_OPERATION: dict[tuple[str, str], tuple[Any, tuple[Any, ...]]] = {
    ("chat", "logprobs"): (True, (False,)),
    ("completions", "logprobs"): (5, (0, False)),
}
PLAIN = [
    pytest.param(row, operation.name, id=f"{row.name}-{operation.name}")
    for operation in OPERATIONS.values()
    for row in operation.parameters
    if row.treatment != "rewritten" and row.name != "model"
]


def call(operation: str, **more: Any) -> Call:
    return read_call(OPERATIONS[operation], json.dumps({**MINIMAL[operation], **more}).encode())


def sent(asked: Call) -> Any:
    """The body that goes upstream."""
    return json.loads(b"".join(asked.upstream(None).naming("m")))


def failure(operation: str, **more: Any) -> str | None:
    """The param of the refusal."""
    with pytest.raises(InvalidRequest) as caught:
        call(operation, **more)
    assert caught.value.error_status == 400
    return caught.value.param


def values(row: Parameter, operation: str) -> tuple[Any, tuple[Any, ...]]:
    """For a parameter that stands in one operation's row alone, what its example sends."""
    own = BY_OPERATION.get((operation, row.name)) or VALUES.get(row.name)
    return own or (MINIMAL[operation][row.name], ())


@pytest.mark.parametrize(
    ("operation", "method"), [("chat", Chat), ("completions", Completions), ("embeddings", Embeddings)]
)
def test_every_parameter_of_openais_client_has_a_treatment(operation: str, method: Any) -> None:
    """A new one of theirs is a new row here, and no silence."""
    parameters = set(inspect.signature(method.create).parameters)
    ours = {row.name for row in OPERATIONS[operation].parameters}
    assert parameters - {"self", "extra_headers", "extra_query", "extra_body", "timeout"} - ours == set()


@pytest.mark.parametrize(("row", "operation"), PLAIN)
def test_a_parameter_has_the_treatment_that_the_table_says(row: Parameter, operation: str) -> None:
    """Passed, ignored with its name in the header, silent, or refused by its name."""
    value, _ = values(row, operation)
    if row.treatment == "refused":
        assert failure(operation, **{row.name: value}) == row.name
        return
    asked = call(operation, **{row.name: value})
    assert asked.ignored == ((row.name,) if row.treatment == "ignored" else ())
    kept: dict[Treatment, bool] = {"passed": True, "silent": True, "ignored": False}
    assert (row.name in sent(asked)) is kept[row.treatment]
    if kept[row.treatment]:
        assert sent(asked)[row.name] == value


@pytest.mark.parametrize(("row", "operation"), PLAIN)
def test_a_value_that_asks_for_nothing_is_silent(row: Parameter, operation: str) -> None:
    """What OpenAI assumes anyway, and null."""
    _, nothing = values(row, operation)
    for value in (*nothing, *([None] if row.name not in OPERATIONS[operation].prompt_fields else [])):
        assert call(operation, **{row.name: value}).ignored == ()


def allowed(mode: str, *names: str) -> dict[str, Any]:
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


SCHEMAS: list[Any] = [{}, "x", {"schema": []}, {"schema": "x"}]
BAD_PARAMETERS: list[Any] = [[], {"type": ["object"]}, {"properties": []}]
WRONG: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(
        ("temperature", "top_p", "frequency_penalty", "presence_penalty"), ("1", True, [], {}, 1e39, 10**400)
    ),
    "seed": (1.5, "1", True, 2**63, -(2**63) - 1, 1e19, 10**60),
    "stop": (1, True, {}, [1], [["a"]], "x" * 100_000),
    "response_format": (
        *("json", [], {}, {"type": 1}, {"type": "xml"}, {"type": ""}, {"type": "json_schema"}),
        *({"type": "json_schema", "json_schema": schema} for schema in SCHEMAS),
    ),
    "tools": (
        *({}, "x", [1], [None], [{}], [{"type": "function"}], [{"type": "custom"}], [{"type": "web_search"}]),
        *([{"function": function}] for function in ({}, {"name": ""}, {"name": 1}, {"name": "f", "description": 1})),
        *([{"function": {"name": "f", "parameters": bad}}] for bad in BAD_PARAMETERS),
    ),
    "tool_choice": (
        *("x", 1, True, [], {"type": "x"}, {"type": "function"}, {"type": "function", "function": {}}),
        *({"type": "function", "function": {"name": "z"}}, {"type": "custom", "custom": {"name": "f"}}),
        *({"type": "allowed_tools"}, allowed("auto", "z"), allowed("required", "f", "z"), "x" * 100_000),
    ),
    "reasoning_effort": ("elf", 1, {}, True),
    "reasoning": ("low", [], {"effort": 1}, {"effort": "elf"}),
    "logprobs": (1, "true", 0),
    "top_logprobs": (21, -1, "1", True, 1.5),
    "logit_bias": ([1], "x", 1),
    "n": (0, 2, "1", True, 1.5),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_invalid_value_is_refused_by_its_name(name: str) -> None:
    """400 with `param`, where Ollama would answer in Go's words, guess, or take no notice."""
    for value in WRONG[name]:
        assert (failure("chat", **{name: value}) or "").startswith(name), str(value)[:99]


@pytest.mark.parametrize(
    ("name", "value"),
    [("logprobs", True), ("logprobs", 21), ("suffix", 1), ("echo", "yes"), ("best_of", "2"), ("stop", [1])],
)
def test_text_completions_refuse_as_well(name: str, value: Any) -> None:
    """What chat does not have."""
    assert (failure("completions", **{name: value}) or "").startswith(name)


def test_numbers_in_other_spellings_are_written_as_ollama_reads_them() -> None:
    """Go reads no `1.0` into an int."""
    body = sent(call("chat", seed=42.0, top_logprobs=2.0))
    assert (json.dumps(body["seed"]), json.dumps(body["top_logprobs"])) == ("42", "2")
    assert json.dumps(sent(call("embeddings", dimensions=3.0))["dimensions"]) == "3"


@pytest.mark.parametrize(
    ("stop", "expected"),
    [
        *(("", None), ([], None), ([""], None), ([None], None), (["", "a"], ["a"]), (["a", None], ["a"])),
        *(("a", "a"), (list("abcdef"), list("abcdef"))),
    ],
)
def test_an_empty_stop_is_none(stop: Any, expected: Any) -> None:
    """Ollama would find it at once and answer nothing."""
    assert sent(call("chat", stop=stop)).get("stop") == expected
    assert sent(call("completions", stop=stop)).get("stop") == expected


@pytest.mark.parametrize(
    ("effort", "expected"), [("minimal", "low"), ("xhigh", "max"), ("high", "high"), ("none", "none")]
)
def test_an_effort_is_sent_as_a_value_that_every_ollama_knows(effort: str, expected: str) -> None:
    """Those before 0.32.11 refuse the others."""
    assert sent(call("chat", reasoning_effort=effort))["reasoning_effort"] == expected
    assert sent(call("chat", reasoning={"effort": effort, "summary": "auto"}))["reasoning"] == {"effort": expected}
    assert sent(call("chat", reasoning={"summary": "auto"}))["reasoning"] == {"summary": "auto"}


NAMED = {"type": "function", "function": {"name": "g"}}
FLAT = {"type": "function", "name": "g"}


@pytest.mark.parametrize(
    ("choice", "names", "is_lost"),
    [
        (None, "fgh", False), ("auto", "fgh", False), ("none", "", False), ("required", "fgh", True),
        (NAMED, "g", True), (FLAT, "g", True), ({"type": "tool", "name": "g"}, "g", True), ("g", "g", True),
        ("any", "fgh", True), ({"type": "any"}, "fgh", True), ({"type": "required"}, "fgh", True), ("ANY", "fgh", True),
        ({"type": "auto"}, "fgh", False), ({"type": "none"}, "", False), ("", "fgh", False), ({}, "fgh", False),
        (allowed("auto", "h", "f"), "fh", False), (allowed("required", "g"), "g", True),
    ],
)  # fmt: skip
def test_a_choice_of_tools_is_kept_as_far_as_possible(choice: Any, names: str, is_lost: bool) -> None:
    """Only those tools are sent; that the model must call one is said to be lost."""
    asked = call("chat", tool_choice=choice)
    body = sent(asked)
    assert "".join(tool["function"]["name"] for tool in body.get("tools", [])) == names
    assert "tool_choice" not in body
    assert asked.ignored == (("tool_choice",) if is_lost else ())


def test_a_call_has_a_bounded_number_of_tools() -> None:
    """All are checked in one step, however little they weigh."""
    call("chat", tools=TOOLS[:1] * MAX_TOOLS)
    assert failure("chat", tools=TOOLS[:1] * (MAX_TOOLS + 1)) == "tools"


@pytest.mark.parametrize("tools", [[], None])
def test_a_choice_without_tools_names_none(tools: Any) -> None:
    """`required` without tools is allowed; a name is an error."""
    assert call("chat", tools=tools, tool_choice="required").ignored == ("tool_choice",)
    assert failure("chat", tools=tools, tool_choice=NAMED) == "tool_choice"


def test_all_ignored_parameters_are_named() -> None:
    """In the order of the table."""
    more = {"logit_bias": {"1": 1}, "tool_choice": "required", "parallel_tool_calls": False, "store": True}
    assert call("chat", **more).ignored == ("tool_choice", "parallel_tool_calls", "logit_bias", "store")
