"""W3C headers: what is valid is read, everything else is as good as absent, and nothing raises."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from ai_gateway.wire.trace_context import MAX_BAGGAGE_BYTES, parent_header, read_baggage, read_parent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
VALID = f"00-{TRACE}-{SPAN}-01".encode()


@pytest.mark.parametrize(
    ("header", "is_sampled"),
    [
        (VALID, True),
        (f"00-{TRACE}-{SPAN}-00".encode(), False),
        (f"00-{TRACE}-{SPAN}-03".encode(), True),  # the random flag of level 2
        (f"00-{TRACE}-{SPAN}-fe".encode(), False),
        (b" " + VALID + b"\t", True),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-brings".encode(), True),
        (f"cc-{TRACE}-{SPAN}-01".encode(), True),
    ],
)
def test_a_valid_parent_is_read(header: bytes, is_sampled: bool) -> None:
    parent = read_parent([header], [])
    assert parent is not None
    assert (parent.trace_id, parent.span_id, parent.is_sampled) == (TRACE, SPAN, is_sampled)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"00",
        VALID + b"-more",
        VALID + b"0",
        VALID.upper(),
        f"ff-{TRACE}-{SPAN}-01".encode(),
        f"00-{'0' * 32}-{SPAN}-01".encode(),
        f"00-{TRACE}-{'0' * 16}-01".encode(),
        f"0-{TRACE}-{SPAN}-01".encode(),
        f"00-{TRACE[:-1]}g-{SPAN}-01".encode(),
        f"00_{TRACE}_{SPAN}_01".encode(),
        f"cc-{TRACE}-{SPAN}-01.more".encode(),
    ],
)
def test_an_invalid_parent_is_none(header: bytes) -> None:
    assert read_parent([header], [b"a=1"]) is None


def test_two_parents_are_none() -> None:
    """Which one holds nobody can say."""
    assert read_parent([VALID, VALID], []) is None


@pytest.mark.parametrize(
    ("states", "kept"),
    [
        ([b"a=1"], b"a=1"),
        ([b"a=1, b=2", b"c=3"], b"a=1,b=2,c=3"),
        ([b"tenant@vendor=x"], b"tenant@vendor=x"),
        ([b"a=1,,b=2,"], b"a=1,b=2"),
        ([b"a=1,a=2"], b""),
        ([b"A=1"], b""),
        ([b"a"], b""),
        ([b"a=\x01"], b""),
        ([b"a=" + b"x" * 600], b""),
        ([b",".join(b"k%d=1" % n for n in range(33))], b""),
    ],
)
def test_a_state_passes_whole_or_not_at_all(states: list[bytes], kept: bytes) -> None:
    parent = read_parent([VALID], states)
    assert parent is not None
    assert parent.state == kept


def test_baggage_passes_as_one_header_unless_it_is_too_long_or_odd() -> None:
    assert read_baggage([b"a=1", b" b=2;p "]) == b"a=1,b=2;p"
    assert read_baggage([b"a=" + b"x" * MAX_BAGGAGE_BYTES]) == b""
    assert read_baggage([b"a=\r\nx: y"]) == b""
    assert read_baggage([]) == b""


def test_what_is_written_is_read_again() -> None:
    parent = read_parent([parent_header(TRACE, SPAN, True)], [])
    assert parent is not None
    assert (parent.trace_id, parent.span_id, parent.is_sampled) == (TRACE, SPAN, True)


@given(some.lists(some.binary(max_size=80), max_size=3), some.lists(some.binary(max_size=80), max_size=3))
def test_no_bytes_raise(parents: list[bytes], states: list[bytes]) -> None:
    """And what is taken is what a header may hold."""
    parent = read_parent(parents, states)
    if parent is not None:
        assert len(parent.trace_id) == 32
        assert parent.state.isascii()
    assert b"\n" not in read_baggage(states)
