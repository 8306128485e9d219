"""A large body is read window by window, with the same result as a body that is read at once."""

import json
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cost import least_cpu_seconds

from ai_gateway.wire.json_scan import MAX_KEYS, NO_OBJECT, Doubled, Scan, TooMuch, Value
from ai_gateway.wire.json_windows import MAX_DEPTH, WINDOW, Cut, Place, TooDeep, cut, letters_end, text_end

SPLIT = frozenset(("items",))


def scanned(body: bytes, step: int = WINDOW, window: int = WINDOW) -> dict[str, Value]:
    """The values of a body that comes in pieces of this size."""
    scan = Scan(SPLIT, window)
    for at in range(0, len(body), step):
        scan.feed(body[at : at + step])
    return scan.end()


_LETTERS = st.sampled_from(["a", '"', "\\", "/", "é", "🏔", "\n", ",", "[", "]", "{", "}", ":", " "])
_TEXTS = st.lists(_LETTERS, max_size=30).map("".join)
_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.floats(allow_nan=False, allow_infinity=False), _TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(_TEXTS, inner, max_size=4)),
    max_leaves=12,
)
_OBJECTS = st.dictionaries(st.one_of(st.just("items"), _TEXTS), _VALUES, max_size=5)
_NOISE = st.sampled_from([b"", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\x00", b"\xc3", b"1", b"\\ud800"])


_WINDOWS = st.sampled_from([16, 40, 200])  # so small that a few bytes need many


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(_OBJECTS, st.booleans(), st.sampled_from([None, 1]), st.integers(1, 60), _WINDOWS)
def test_any_object_is_read_whole_in_any_pieces(
    value: Any, is_ascii: bool, indent: int | None, step: int, window: int
) -> None:
    """Each value keeps its meaning, and a list that is split has whole items in each group."""
    if len({key.casefold() for key in value}) < len(value):
        return
    values = scanned(json.dumps(value, ensure_ascii=is_ascii, indent=indent).encode(), step, window)
    assert {key: json.loads(found.text()) for key, found in values.items()} == value
    if values.get("items") is not None and values["items"].is_split and value["items"]:
        items = [item for group in values["items"].groups for item in json.loads(b"[%b]" % b"".join(group))]
        assert items == value["items"]


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(_OBJECTS, st.integers(0, 400), st.integers(0, 3), _NOISE, st.integers(1, 60), _WINDOWS)
def test_damage_is_found_in_any_place(value: Any, at: int, gone: int, noise: bytes, step: int, window: int) -> None:
    """Exactly what the decoder of whole bodies takes is taken, keys that stand twice apart."""
    whole = json.dumps(value, ensure_ascii=False).encode()
    body = whole[: at % len(whole)] + noise + whole[at % len(whole) + gone :]
    try:
        body.decode()
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError):
        with pytest.raises(NO_OBJECT):
            scanned(body, step, window)
        return
    try:
        values = scanned(body, step, window)
    except Doubled:
        return
    assert {key: json.loads(found.text()) for key, found in values.items()} == {
        key: json.loads(bytes(raw)) for key, raw in fields.items()
    }


def test_no_letter_is_halved() -> None:
    """Escapes, pairs of surrogates and characters of several bytes stay whole wherever a text is cut."""
    text = 'a\\\\\\"\\u0041\\ud83d\\ude00é🏔\\\\ud83dz'.encode()
    for limit in range(12, len(text) + 1):
        piece = text[: letters_end(text, 0, limit)]
        assert limit - 12 < len(piece) <= limit
        json.loads(b'"%b"' % piece).encode()


def test_the_end_of_a_text_is_no_quote_with_a_backslash() -> None:
    """However many backslashes stand before it."""
    assert [text_end(b"ab" + b"\\" * count + b'" "', 0) for count in range(4)] == [2, 5, 4, 7]


def test_a_window_without_a_place_to_cut_has_no_cut() -> None:
    """A number may be longer than the window, and is not cut."""
    assert cut(b"[" + b"1" * 50, Place(), by_item=False) is None
    assert cut(b"[1,22", Place(), by_item=True) == Cut(3, Place(b"["), True)


def test_depth_is_bounded_across_windows() -> None:
    """The object itself is the first level; 32 pass."""
    filler = b'"%b",' % (b"x" * 3000)
    for levels, is_taken in ((MAX_DEPTH - 1, True), (MAX_DEPTH, False)):
        body = b'{"a":' + b"".join(b"[" + filler * 20 for _ in range(levels)) + b"1" + b"]" * levels + b"}"
        if is_taken:
            assert json.loads(scanned(body)["a"].text())
        else:
            with pytest.raises(TooDeep):
                scanned(body)


def test_keys_are_bounded_in_number_and_length() -> None:
    """256 of them, of a kilobyte each."""
    keys = [b'"k%d":%d' % (number, number) for number in range(MAX_KEYS + 1)]
    assert len(scanned(b"{%b}" % b",".join(keys[:-1]))) == MAX_KEYS
    for body in (b"{%b}" % b",".join(keys), b'{"%b":1}' % (b"k" * 2000)):
        with pytest.raises(TooMuch):
            scanned(body)


@pytest.mark.parametrize("second", [b"model", b"MODEL", b"mode\\u006c"])
def test_a_repeated_key_is_found_after_megabytes(second: bytes) -> None:
    """However it is spelt."""
    with pytest.raises(Doubled):
        scanned(b'{"model":"a","x":"%b","%b":"b"}' % (b"x" * (2 << 20), second))


@pytest.mark.parametrize(
    "unit", [b"[]", b'"a"', b"1", b'{"a":[{}]}', b"[" * 29 + b"]" * 29, b'"\\u0041"', b'"[{,"', b'"\\\\\\""']
)
def test_reading_is_linear(unit: bytes) -> None:
    """Twice as much costs about twice as much, and a megabyte less than a fifth of a second of CPU."""
    costs = []
    for size in (1 << 19, 1 << 20):
        body = b'{"a":[%b]}' % b",".join([unit] * (size // (len(unit) + 1)))
        costs.append(least_cpu_seconds(partial(scanned, body)))
    assert costs[1] < min(0.2, 6 * costs[0])
