"""W3C headers: valid ones are read, all others are ignored, and nothing raises."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as some

from ai_gateway.wire.trace_context import MAX_BAGGAGE_BYTES, Trace, parent_header, read_baggage, read_parent

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
        (f"01-{TRACE}-{SPAN}-09-".encode(), True),
    ],
)
def test_a_valid_parent_is_read(header: bytes, is_sampled: bool) -> None:
    parent = read_parent([header], [])
    assert parent is not None
    assert (parent.trace_id, parent.span_id, parent.is_sampled) == (TRACE, SPAN, is_sampled)


@pytest.mark.parametrize("more", [b"", b"-", b"-\xc3\xa9\xff\x80", b"-" + b"x" * 30_000, b"-a\x01b"])
def test_of_a_later_version_only_what_is_known_goes_on(more: bytes) -> None:
    """As version 00, which the standard asks for: the endpoint gets no byte that the gateway does not understand."""
    parent = read_parent([f"cc-{TRACE}-{SPAN}-0b".encode() + more], [])
    assert parent is not None
    assert parent.header == VALID
    assert Trace(TRACE, SPAN, parent).lines("") == b"traceparent: " + VALID + b"\r\n"


def test_the_callers_own_flags_of_this_version_go_on() -> None:
    """Its random flag tells samplers behind us that they may trust the id."""
    parent = read_parent([f"00-{TRACE}-{SPAN}-03".encode()], [])
    assert parent is not None
    assert parent.header == f"00-{TRACE}-{SPAN}-03".encode()


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
        f"00-{TRACE}-{SPAN}-1".encode(),
        f"00-{TRACE}-{SPAN}-0x".encode(),
        f"00-{TRACE}{SPAN}-01".encode(),
        f"00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01".encode(),
        b"\xff" + VALID,
    ],
)
def test_an_invalid_parent_is_none(header: bytes) -> None:
    assert read_parent([header], [b"a=1"]) is None


def test_two_parents_are_none() -> None:
    """The gateway cannot know which one is right."""
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
        ([b",".join(b"k%d=1" % n for n in range(32))], b",".join(b"k%d=1" % n for n in range(32))),
        ([b"a=1=2"], b""),
        ([b"a= "], b""),
        ([b"a=b c"], b"a=b c"),
        ([b"a=\xe9"], b""),
        ([b""], b""),
        ([], b""),
    ],
)
def test_a_tracestate_is_passed_on_whole_or_not_at_all(states: list[bytes], kept: bytes) -> None:
    parent = read_parent([VALID], states)
    assert parent is not None
    assert parent.state == kept


def test_baggage_passes_as_one_header_unless_it_is_too_long_or_odd() -> None:
    assert read_baggage([b"a=1", b" b=2;p "]) == b"a=1,b=2;p"
    assert read_baggage([b"a=" + b"x" * MAX_BAGGAGE_BYTES]) == b""
    assert read_baggage([b"a=\r\nx: y"]) == b""
    assert read_baggage([b"a=\xc3\xa9"]) == b""
    assert read_baggage([]) == b""
    assert read_baggage([b"", b"a=1", b" "]) == b"a=1"
    assert read_baggage([b"", b""]) == b""


def test_what_is_written_is_read_again() -> None:
    parent = read_parent([parent_header(TRACE, SPAN, True)], [])
    assert parent is not None
    assert (parent.trace_id, parent.span_id, parent.is_sampled) == (TRACE, SPAN, True)


LINES = some.lists(some.binary(max_size=80), max_size=3)
HEXES = some.text("0123456789abcdefABCDEFg", max_size=34)
PAIRS = some.text("0123456789abcdef", min_size=2, max_size=2)
NEARLY = some.builds(
    "{}-{}-{}-{}{}".format, PAIRS, HEXES | some.just(TRACE), HEXES | some.just(SPAN), PAIRS, some.just("") | some.text()
)
PARENTS = some.binary(max_size=80) | NEARLY.map(lambda text: text.encode(errors="replace"))
MEMBERS = some.builds(b"%b=%b".__mod__, some.tuples(some.binary(max_size=5), some.binary(max_size=5)))
VALUE = re.compile(rb"[\t\x20-\x7e]*")
IDS = re.compile(r"(?!0+-)[0-9a-f]{32}-(?!0+$)[0-9a-f]{16}")


@given(
    some.lists(PARENTS, max_size=2), some.lists(MEMBERS | some.binary(max_size=80), max_size=3), LINES, some.booleans()
)
def test_only_valid_headers_are_passed_on_for_any_input(
    parents: list[bytes], states: list[bytes], baggage: list[bytes], is_recorded: bool
) -> None:
    """No bytes raise, and an endpoint is sent headers of their own lines, each of them at most once."""
    parent = read_parent(parents, states)
    trace = Trace(TRACE, SPAN, None, is_recorded, read_baggage(baggage))
    if parent is not None:
        assert IDS.fullmatch(f"{parent.trace_id}-{parent.span_id}")
        trace = Trace(parent.trace_id, SPAN, parent, is_recorded, read_baggage(baggage))
    own = SPAN if is_recorded or parent is None else ""
    *lines, last = trace.lines(own).split(b"\r\n")
    assert last == b""
    pairs = [line.partition(b": ") for line in lines]
    assert len({name for name, _, _ in pairs}) == len(pairs)
    assert {name for name, _, _ in pairs} <= {b"traceparent", b"tracestate", b"baggage"}
    for name, _, value in pairs:
        assert value
        assert VALUE.fullmatch(value)
        assert len(value) <= {b"traceparent": 55, b"tracestate": 512, b"baggage": MAX_BAGGAGE_BYTES}[name]
        if name == b"traceparent":
            again = read_parent([value], [])
            assert again is not None
            assert again.trace_id == trace.trace_id
            assert again.span_id == (own or (parent and parent.span_id))
