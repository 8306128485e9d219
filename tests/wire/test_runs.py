"""A long list is read a run at a time: no item is lost, doubled or cut, and few are objects at once."""

import json
import tracemalloc

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_gateway.wire import fields as module
from ai_gateway.wire.fields import AnyObject, runs

_items = msgspec.json.Decoder(list[dict[str, object]])
_objects = msgspec.json.Decoder(list[AnyObject])

_VALUES = st.recursive(
    st.sampled_from(["},{", '"},{"', "x", 1, None]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["a", "},{"]), inner, max_size=2)
    ),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    st.lists(st.dictionaries(st.sampled_from(["a", "b", "}"]), _VALUES, max_size=3)), st.sampled_from([None, 1, "\t"])
)
def test_every_item_comes_once_and_in_order(items: list[dict[str, object]], indent: str | int | None) -> None:
    """With texts and deeper lists that look like the end of an item, and with any white space."""
    text = json.dumps(items, indent=indent).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "RUN_BYTES", 8)
        found = list(runs(text, _items))
    assert [item for run in found for item in run.items] == items
    for run in found:
        assert json.loads(run.text) == run.items
        assert text[run.at :].startswith(run.text[1:-1])


@pytest.mark.parametrize("bad", [b"1", b"[]", b'"x"', b"null"])
def test_an_item_of_another_shape_is_found_in_any_place(bad: bytes) -> None:
    """And the rest is not read."""
    text = b"[" + b"{}," * 200_000 + bad + b",{}" * 200_000 + b"]"
    with pytest.raises(msgspec.ValidationError):
        list(runs(text, _objects))


def test_a_list_of_megabytes_takes_little_memory() -> None:
    """8 MB of the shortest objects: at once they would be 190 MB."""
    text = b"[" + b"{}," * 2_700_000 + b"{}]"
    tracemalloc.start()
    count = sum(len(run.items) for run in runs(text, _objects))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 2_700_001
    assert peak < 8 << 20
