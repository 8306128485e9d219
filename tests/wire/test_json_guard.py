"""A request body is checked before its values are read: what passes, and what is refused."""

import itertools
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cost import assert_cheap

from ai_gateway.errors import InvalidRequest
from ai_gateway.wire.json_guard import MAX_DEPTH, read_object

KNOWN = {"model": "model", "stream": "stream", "keep_alive": "keep_alive"}


def refused(body: bytes) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        read_object(body, KNOWN)
    return caught.value


@pytest.mark.parametrize(
    ("body", "word"),
    [
        pytest.param(b"", "empty", id="nothing"),
        pytest.param(b" \n ", "empty", id="white space"),
        pytest.param(b"[]", "object", id="a list"),
        pytest.param(b"null", "object", id="null"),
        pytest.param(b'"model"', "object", id="a string"),
        pytest.param(b"7", "object", id="a number"),
        pytest.param(b'{"model":"a"}{}', "not valid JSON", id="two objects"),
        pytest.param(b'{"model":"a"} x', "not valid JSON", id="words behind"),
        pytest.param(b'{"model":"a",}', "not valid JSON", id="a last comma"),
        pytest.param(b"{'model':'a'}", "not valid JSON", id="single quotes"),
        pytest.param(b'{"model":NaN}', "not valid JSON", id="NaN"),
        pytest.param(b'{"model":-Infinity}', "not valid JSON", id="Infinity"),
        pytest.param(b'{"model":01}', "not valid JSON", id="a number with a zero in front"),
        pytest.param(b'{"model":"\n"}', "not valid JSON", id="a line end in a string"),
        pytest.param(b'{"model":"\\x41"}', "not valid JSON", id="an escape that JSON lacks"),
        pytest.param(b'{"other":{"deep":["\\q"]}}', "not valid JSON", id="a bad escape deep inside"),
        pytest.param(b'{"model":"\xff"}', "UTF-8", id="no UTF-8"),
        pytest.param(b'{"model":"\xed\xa0\x80"}', "UTF-8", id="a surrogate in UTF-8"),
        pytest.param(b'\xef\xbb\xbf{"model":"a"}', "byte order mark", id="a byte order mark"),
        pytest.param('{"model":"a"}'.encode("utf-16"), "byte order mark", id="UTF-16"),
        pytest.param(b'{"\\ud800":1}', "not valid JSON", id="half a pair in a key"),
    ],
)
def test_an_invalid_json_object_is_refused_with_its_reason(body: bytes, word: str) -> None:
    """One sentence that says what to mend, under the code `invalid_json`."""
    error = refused(body)
    assert error.error_code == "invalid_json"
    assert error.error_status == 400
    assert word in error.message


def test_half_a_surrogate_pair_is_read_as_go_reads_it_and_refused_in_a_key() -> None:
    """U+FFFD in a value, wherever it stands; every row of up to three pieces, in a key and deep inside."""
    pieces = ["\\ud800", "\\udbff", "\\udc00", "\\uDFFF", "\\u0041", "\\n", "\\\\", "x"]
    for row in (row for length in (1, 2, 3) for row in itertools.product(pieces, repeat=length)):
        text = "".join(row)
        as_go = re.sub("[\ud800-\udfff]", "\ufffd", json.loads(f'"{text}"'))
        fields = read_object(f'{{"a":[{{"b":"{text}"}}],"c":"{text}"}}'.encode(), KNOWN)
        assert json.loads(bytes(fields["a"])) == [{"b": as_go}]
        assert json.loads(bytes(fields["c"])) == as_go
        for body in (f'{{"{text}":1}}', f'{{"a":[{{"{text}":"x"}}]}}'):
            if "\ufffd" in as_go:
                assert refused(body.encode()).error_code == "invalid_json"
            else:
                read_object(body.encode(), KNOWN)


def test_a_whole_surrogate_pair_is_text_like_any_other() -> None:
    """What JSON allows passes as it was written."""
    assert bytes(read_object(b'{"a":"\\ud83d\\ude00"}', KNOWN)["a"]) == b'"\\ud83d\\ude00"'


def nested(levels: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    """An object with so many levels, its own included."""
    return b'{"a":' + opening * (levels - 1) + closing * (levels - 1) + b"}"


def test_the_depth_limit_counts_the_object_itself() -> None:
    """32 levels pass, 33 do not."""
    read_object(nested(MAX_DEPTH), KNOWN)
    assert "deeper" in refused(nested(MAX_DEPTH + 1)).message


def test_brackets_in_strings_have_no_depth() -> None:
    """Text is not structure, with any quotes and backslashes in it."""
    for text in ("[" * 99, '"[' * 99, "\\[" * 99, '\\"{' * 99, "{" * 99 + "\\"):
        body = json.dumps({"a": [text, {"b": text}], "c": text}).encode()
        assert set(read_object(body, KNOWN)) == {"a", "c"}


def test_many_shallow_lists_are_not_deep() -> None:
    """Depth is not the number of brackets."""
    read_object(json.dumps({"a": [[[]]] * 500, "b": {"c": [{}] * 500}}).encode(), KNOWN)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"a":' * 100_000, id="open objects"),
        pytest.param(nested(100_000), id="lists"),
        pytest.param(b'{"a":"\\u0041","b":' + b"[" * 100_000 + b"]" * 100_000 + b"}", id="lists beside an escape"),
        pytest.param(b'{"a":' + b"[[]," * 100_000 + b"]" * 100_000 + b"}", id="lists with small lists between"),
    ],
)
def test_a_body_of_brackets_is_refused_before_it_costs_anything(body: bytes) -> None:
    """100,000 levels are refused within 10 ms of CPU, and nothing recurses."""
    assert "deeper" in refused(body).message
    assert_cheap(lambda: refused(body), 0.010)


@pytest.mark.parametrize(
    "key",
    [
        "Model", "MODEL", "mOdel", "\u017ftream", "STREAM", "\u212aeep_alive", "Keep_Alive", "keep_\u0041live",
    ],
)  # fmt: skip
def test_a_key_that_differs_from_a_known_one_by_case_alone_is_refused(key: str) -> None:
    """Go would read it as the known one: it is refused with its own name as `param`, never repaired."""
    for text in (json.dumps(key, ensure_ascii=False), json.dumps(key)):
        error = refused(b"{%b:1}" % text.encode())
        assert (error.error_code, error.param) == ("ambiguous_key", key)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"model":"a","model":"b"}', "model"),
        (b'{"model":"a","model":"a"}', "model"),
        (b'{"model":"a","mode\\u006c":"b"}', "model"),
        (b'{"other":1,"Other":2}', "Other"),
        (b'{"x":1,"\\u0078":1}', "x"),
        (b'{"a b":1,"a b":1}', "a b"),
        (b'{"a/b":1,"a\\/b":1}', "a/b"),
        ('{"é":1,"É":1}'.encode(), "É"),
        (b'{"k":1,"\xe2\x84\xaa":2}', "\u212a"),
        (b'{"":1,"":2}', ""),
        (b'{"a":{"a":1},"a":{"a":1}}', "a"),
    ],
)
def test_a_repeated_key_is_refused_by_its_name(body: bytes, param: str) -> None:
    """However it is spelt, and although a decoder would silently keep one of them."""
    error = refused(body)
    assert (error.error_code, error.param) == ("duplicate_key", param)


def test_a_key_may_stand_again_inside_a_value_or_a_text() -> None:
    """The gateway checks only the top level."""
    body = rb'{"model":"\"model\":\"x\"","a":{"model":1,"model":2},"b":[{"model":3}]}'
    assert list(read_object(body, KNOWN)) == ["model", "a", "b"]


_SPACE = st.sampled_from(["", " ", "\n", "\t \r\n"])
_LETTERS = st.sampled_from(
    ["a", "A", "s", "S", "\u017f", "k", "K", "\u212a", "ß", "é", "É", '"', "\\", "/", "\n", "🏔", " ", "{"]
)


def _spelt(text: str, escapes: list[bool]) -> str:
    """A JSON string with some of its characters written as escapes."""
    shown = [
        "".join(f"\\u{unit:04x}" for unit in _utf16(letter))
        if escaped
        else json.dumps(letter, ensure_ascii=False)[1:-1]
        for letter, escaped in zip(text, escapes, strict=True)
    ]
    return '"' + "".join(shown) + '"'


def _utf16(letter: str) -> list[int]:
    raw = letter.encode("utf-16-be")
    return [int.from_bytes(raw[at : at + 2]) for at in range(0, len(raw), 2)]


@st.composite
def _strings(draw: st.DrawFn) -> str:
    text = draw(st.lists(_LETTERS, max_size=3))
    return _spelt("".join(text), draw(st.lists(st.booleans(), min_size=len(text), max_size=len(text))))


@st.composite
def _objects(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    pairs = draw(st.lists(st.tuples(_SPACE, _strings(), _SPACE, values, _SPACE), max_size=4))
    return "{" + ",".join(f"{a}{key}{b}:{value}{c}" for a, key, b, value, c in pairs) + "}"


def _lists(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(values, max_size=3).map(lambda items: "[" + ", ".join(items) + "]")


_SCALARS = st.one_of(st.sampled_from(["null", "true", "1", "12", "-0.0", "1e3", "1.0"]), _strings())
_VALUES = st.recursive(_SCALARS, lambda inner: st.one_of(_lists(inner), _objects(inner)), max_leaves=6)


def top_level_pairs(text: str) -> list[tuple[str, Any]]:
    """All keys of the object, repeated ones too, as Python's own decoder reads them."""
    pairs: list[list[tuple[str, Any]]] = []
    json.loads(text, object_pairs_hook=pairs.append)
    return pairs[-1]


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(_objects(_VALUES), _SPACE)
def test_an_object_passes_exactly_if_its_keys_differ_in_more_than_case(text: str, space: str) -> None:
    """For any object, however it is spelt; and what passes keeps each value's own bytes."""
    pairs = top_level_pairs(text)
    is_unique = len({key.casefold() for key, _ in pairs}) == len(pairs)
    body = f"{space}{text}{space}".encode()
    if not is_unique:
        with pytest.raises(InvalidRequest):
            read_object(body, {})
        return
    fields = read_object(body, {})
    assert list(fields) == [key for key, _ in pairs]
    for key, value in pairs:
        read: Callable[[bytes], Any] = lambda raw: json.loads(raw, object_pairs_hook=lambda found: None)  # noqa: E731
        assert bytes(fields[key]).decode() in text
        assert read(bytes(fields[key])) == value


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.one_of(st.binary(max_size=40), _objects(_VALUES).flatmap(lambda text: _damaged(text.encode()))))
def test_any_bytes_are_read_or_refused_with_an_error(body: bytes) -> None:
    """Any bytes are read as JSON that Python reads too, or refused."""
    try:
        read_object(body, KNOWN)
    except InvalidRequest:
        return
    assert isinstance(json.loads(body.decode()), dict)


def _damaged(body: bytes) -> st.SearchStrategy[bytes]:
    places = st.integers(0, len(body))
    noise = st.sampled_from([b"", b'"', b"\\", b"{", b"}", b"[", b",", b":", b"\x00", b"\xc3", b"\\ud800", b"1e999"])
    return st.tuples(places, places, noise).map(lambda cut: body[: cut[0]] + cut[2] + body[cut[1] :])
