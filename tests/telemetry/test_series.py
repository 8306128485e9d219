"""Numbers of requests between scrapes: right in every bucket, and always bounded."""

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client import Histogram as Reference

from ai_gateway.telemetry.series import Counter, Histogram, Mark, Series, counters, histograms

MARK = Mark("a" * 32, "b" * 16, 1.5)


@pytest.mark.parametrize("value", [0.0, 0.05, 0.1, 0.10001, 0.5, 1.0, 7.0, float("inf")])
def test_a_value_is_counted_where_prometheus_own_client_counts_it(value: float) -> None:
    """A bound is part of the bucket below it."""
    bounds = (0.1, 0.5, 1.0)
    own, reference = Histogram(bounds), Reference("x", "x", buckets=bounds, registry=CollectorRegistry())
    own.observe(value)
    reference.observe(value)
    (family,) = reference.collect()
    read, running = own.read(), 0.0
    for sample, count in zip((s for s in family.samples if s.name == "x_bucket"), read.counts, strict=True):
        running += count
        assert sample.value == running
    assert read.total == value
    assert read.count == 1


def test_an_exemplar_is_the_last_one_of_its_bucket() -> None:
    """Those of other buckets stay; a value without a mark leaves none, and takes none away."""
    histogram = Histogram((1.0, 2.0))
    histogram.observe(0.5, MARK)
    later = MARK._replace(trace_id="c" * 32)
    histogram.observe(0.7, later)
    histogram.observe(3.0, MARK)
    histogram.observe(3.5)
    assert histogram.read().exemplars == {0: (0.7, later), 2: (3.0, MARK)}


def test_what_was_read_does_not_change_any_more() -> None:
    """It is written by a thread while the loop goes on counting."""
    histogram = Histogram((1.0,))
    histogram.observe(0.5, MARK)
    read = histogram.read()
    histogram.observe(0.7, MARK)
    histogram.observe(2.0, MARK)
    assert (read.counts, read.total, list(read.exemplars)) == ((1, 0), 0.5, [0])


def test_the_same_labels_are_the_same_number() -> None:
    """So that code that counts often can keep it."""
    series = counters()
    kept = series.at("a", "b")
    assert series.at("a", "b") is kept
    assert series.at("b", "a") is not kept
    kept.value += 2
    assert [(labels, counter.value) for labels, counter in series.items()] == [(("a", "b"), 2), (("b", "a"), 0)]


def test_beyond_the_limit_label_sets_are_counted_together() -> None:
    """None is lost, those that were there go on, and no more come."""
    series = Series(Counter, most=3)
    for number in range(10):
        series.at(str(number), "x").value += 1
    series.at("2", "x").value += 1
    found = {labels: counter.value for labels, counter in series.items()}
    assert found == {("0", "x"): 1, ("1", "x"): 1, ("2", "x"): 2, ("other", "other"): 7}


def test_histograms_have_their_metrics_bounds() -> None:
    histogram = histograms((1.0, 2.0)).at("a")
    histogram.observe(1.5)
    assert histogram.read().counts == (0, 1, 0)
