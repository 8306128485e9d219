"""Reports as a gateway may tell them."""

from hypothesis import strategies as st

from ai_gateway.balancing.report import PHASES, Load, Report

_TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
_AGES = st.floats(-10, 1e6, allow_nan=False)
_LOADS = st.builds(Load, _TEXT, _TEXT, _TEXT, st.sampled_from(PHASES), _AGES)

REPORTS = st.builds(
    Report,
    uid=_TEXT,
    leads=st.booleans(),
    may_lead=st.booleans(),
    in_flight=st.dictionaries(_TEXT, st.dictionaries(_TEXT, st.integers(-1, 10_000), max_size=3), max_size=3),
    waiting=st.dictionaries(_TEXT, st.tuples(st.integers(-1, 1 << 40), _AGES), max_size=3),
    tokens=st.dictionaries(_TEXT, st.integers(-1, 1 << 60), max_size=3),
    key=_TEXT,
    loads=st.lists(_LOADS, max_size=3).map(tuple),
)


def some_report(uid: str, calls: int = 1) -> Report:
    """A report of a gateway with so many calls on one endpoint."""
    return Report(uid=uid, may_lead=True, in_flight={"10.0.0.1:11434": {"llama3": calls}})
