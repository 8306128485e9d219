"""The table of metrics is complete, and each meaning is in the program once."""

from ai_gateway.telemetry import names
from ai_gateway.telemetry.meanings import METRICS
from ai_gateway.telemetry.reference import as_text


def test_every_name_of_a_metric_has_its_meaning() -> None:
    own = {value for value in vars(names).values() if isinstance(value, str) and value.startswith("ai_gateway_")}
    assert own - set(METRICS) == set()
    assert set(names.BUCKETS) <= set(METRICS)


def test_only_histograms_have_buckets() -> None:
    """And all of them have."""
    assert {name for name, metric in METRICS.items() if metric.kind == "histogram"} == set(names.BUCKETS)
    for bounds in names.BUCKETS.values():
        assert list(bounds) == sorted(set(bounds))


def test_the_tables_hold_every_metric_once() -> None:
    text = as_text()
    for name, metric in METRICS.items():
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{name}` |")]
        assert row.count(" | ") == 4
        assert metric.meaning in row
