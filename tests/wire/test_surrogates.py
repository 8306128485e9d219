"""Halves of surrogate pairs become U+FFFD, as in Go; the cost is linear in the text."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cost import assert_cheap

from ai_gateway.errors import InvalidRequest
from ai_gateway.wire.surrogates import replace_lone


def test_a_text_without_halves_is_left_alone() -> None:
    """Whole pairs, and backslashes that only look like escapes."""
    for text in (b'"x"', rb'"\ud83d\ude00"', rb'"\\ud83d"', rb'"\\\\ud83d \u00e9 \ud7ff \ue000"'):
        assert replace_lone(text) is None


_PIECES = st.sampled_from(
    ["\\ud83d", "\\uDE00", "\\ud800", "\\udfff", "\\u0041", "\\\\", '\\"', "\\n", "u", "ud83d", "x", "é", ":", "}"]
)


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(st.lists(_PIECES, max_size=8), st.lists(_PIECES, max_size=8))
def test_a_half_becomes_the_replacement_character(first: list[str], second: list[str]) -> None:
    """As Python's decoder sees halves, and in place: nothing else moves."""
    text = f'["{"".join(first)}", "{"".join(second)}"]'
    whole = replace_lone(text.encode())
    expected = [re.sub("[\ud800-\udfff]", "\ufffd", one) for one in json.loads(text)]
    assert (whole is None) == (expected == json.loads(text))
    assert json.loads(text if whole is None else whole) == expected
    assert whole is None or len(whole) == len(text.encode())


@pytest.mark.parametrize("space", ["", " ", "\n\t"])
def test_a_half_in_a_key_is_refused(space: str) -> None:
    """At any depth: two keys would become one."""
    for text in (f'{{"\\ud83d"{space}:1}}', f'{{"a":[{{"x\\ud83dy\\""{space}: "\\ud83d"}}]}}'):
        with pytest.raises(InvalidRequest) as caught:
            replace_lone(text.encode())
        assert caught.value.error_code == "invalid_json"
    assert replace_lone(f'["\\ud83d"{space}, ":"]'.encode()) is not None


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b'"' + rb"\ud83d" * 100_000 + b'"', id="halves"),
        pytest.param(b'["' + rb'\ud83d","' * 100_000 + b'"]', id="halves in strings of their own"),
        pytest.param(b'"' + rb"\ud83d\ude00" * 100_000 + rb'\ud83d"', id="pairs, then a half"),
        pytest.param(b'"' + rb"\"" * 300_000 + rb'\ud83d"', id="escapes, then a half"),
        pytest.param(b'"' + b"x" * 1_000_000 + rb'\ud83d"', id="text, then a half"),
        pytest.param(b"{" + b'"\\u0041' * 100_000 + rb'\ud83d"', id="strings that do not end"),
        pytest.param(rb"\ud8" * 200_000, id="broken escapes"),
    ],
)
def test_what_it_costs_grows_with_the_text(text: bytes) -> None:
    """A megabyte within 0.3 s of CPU, of which no single step is long: 30 to 60 ms on an idle core."""
    assert_cheap(lambda: replace_lone(text), 0.3 * max(1, len(text) / 1e6))
