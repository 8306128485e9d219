"""Text for a terminal or a log: nothing in it controls a terminal, and all else is unchanged."""

import json

import msgspec
import pytest

from ai_gateway.wire.printable import printable, printable_json, printable_lines, utf8

HOSTILE = [
    *(chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))),  # C0, DEL, C1
    *"\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",  # bidirectional
    *"\u200b\u200c\u200d\u2060\ufeff\u00ad\u180e\u034f"[:-1],  # nothing to see
    *"\u2028\u2029\u0085",
    "\U000e0041",  # a tag
    "\ud800",
]


@pytest.mark.parametrize("char", HOSTILE)
def test_control_characters_become_escapes(char: str) -> None:
    shown = printable(f"a{char}b")
    assert shown.isprintable()
    assert (shown[0], shown[-1], shown[1]) == ("a", "b", "\\")
    assert shown.encode()


@pytest.mark.parametrize("char", HOSTILE)
def test_as_json_the_text_has_the_same_meaning(char: str) -> None:
    if char == "\ud800":
        return  # it cannot be encoded
    line = printable_json(msgspec.json.encode({char: f"a{char}b\u6a21"}))
    assert line.decode().isprintable()
    assert json.loads(line) == {char: f"a{char}b\u6a21"}
    assert "\u6a21" in line.decode()


@pytest.mark.parametrize(
    "text", ["", "plain", "Gr\u00fcezi", "\u6a21\u578b", "\U0001f600 ok", "e\u0301", "\u05d0\u05d1"]
)
def test_what_people_write_stays(text: str) -> None:
    assert printable(text) == text
    assert printable_lines(f"{text}\n\t{text}") == f"{text}\n\t{text}"
    assert json.loads(printable_json(msgspec.json.encode(text))) == text


def test_lines_of_the_gateways_own_texts_stay() -> None:
    assert printable_lines("a\n\tb\r\x1b") == "a\n\tb\\x0d\\x1b"


def test_half_of_a_pair_is_shown_where_utf8_is_wanted() -> None:
    assert utf8("a\udc80\u6a21") == "a\\udc80\u6a21"
