"""Prometheus can read the metrics, with any text in a label."""

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families

from ai_gateway.telemetry import names
from ai_gateway.telemetry.meanings import METRICS
from ai_gateway.telemetry.metrics import as_text, process_samples
from ai_gateway.telemetry.sample import Sample
from ai_gateway.telemetry.series import Distribution, Mark

HOSTILE = 'x"} 1\nai_gateway_up 1\r\n\\n\\"\\ü\u2028'
MARK = Mark("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", 1_700_000_000.25)


def parsed(*samples: Sample) -> list[Metric]:
    """As Prometheus reads what is written of these; the other form says the same."""
    plain = list(text_string_to_metric_families(as_text(samples).decode()))
    opened = opened_families(*samples)
    assert [(family.name, family.type) for family in plain] == [(family.name, family.type) for family in opened]
    for one, other in zip(plain, opened, strict=True):
        assert [sample[:3] for sample in one.samples] == [sample[:3] for sample in other.samples]
    return plain


def opened_families(*samples: Sample) -> list[Metric]:
    """As the strict reader of OpenMetrics takes it."""
    return list(open_families(as_text(samples, is_open=True).decode()))  # type: ignore[no-untyped-call]


def test_samples_of_one_name_are_one_metric_with_its_kind_and_meaning() -> None:
    """Also when another name stands between them: Prometheus refuses a name that comes twice."""
    states = [Sample(names.ENDPOINTS, count, (state,)) for state, count in (("up", 2), ("down", 0))]
    families = parsed(states[0], Sample(names.CONFIG_REJECTED, 3), states[1])
    assert [(family.name, family.type, family.documentation) for family in families] == [
        ("ai_gateway_endpoints", "gauge", METRICS[names.ENDPOINTS].meaning),
        ("ai_gateway_config_rejected", "counter", METRICS[names.CONFIG_REJECTED].meaning),
    ]
    assert [(sample.labels, sample.value) for sample in families[0].samples] == [
        ({"state": "up"}, 2.0),
        ({"state": "down"}, 0.0),
    ]


def test_a_counter_ends_in_total_once() -> None:
    """As its name does in the code already; and no second series says when it was made."""
    (family,) = parsed(Sample(names.CONFIG_REJECTED, 4))
    assert [(sample.name, sample.value) for sample in family.samples] == [("ai_gateway_config_rejected_total", 4.0)]


@pytest.mark.parametrize("value", [HOSTILE, "\n", '"', "\\", "", "{}", "a,b=c", "# HELP x"])
def test_a_label_comes_back_as_it_was_whatever_it_says(value: str) -> None:
    """A source or a path may hold anything; none of it becomes a line or a metric of its own."""
    (family,) = parsed(Sample(names.CONFIG, 1, ("abc", value)))
    found = [(sample.name, sample.labels) for sample in family.samples]
    assert found == [("ai_gateway_config_info", {"source": value, "hash": "abc"})]


@pytest.mark.parametrize(
    ("value", "written"), [(True, 1.0), (False, 0.0), (1.7e9, 1.7e9), (float("inf"), float("inf"))]
)
def test_a_value_is_a_number(value: float, written: float) -> None:
    """Also a yes or no, and one that has no end."""
    (family,) = parsed(Sample(names.CONFIG_FAILING, value))
    assert [sample.value for sample in family.samples] == [written]


def test_without_samples_there_is_no_text() -> None:
    """OpenMetrics has an end even so."""
    assert as_text(()) == b""
    assert as_text((), is_open=True) == b"# EOF\n"


def test_each_bucket_holds_those_below_it() -> None:
    """As Prometheus counts; the last one has no bound, and all."""
    (family,) = parsed(Sample(names.QUEUE_WAIT, Distribution((0.5, 1.0), (2, 0, 3), 12.5), ("coder",)))
    assert family.type == "histogram"
    assert [(s.name.removeprefix(names.QUEUE_WAIT), s.labels.get("le"), s.value) for s in family.samples] == [
        ("_bucket", "0.5", 2.0), ("_bucket", "1.0", 2.0), ("_bucket", "+Inf", 5.0), ("_count", None, 5.0),
        ("_sum", None, 12.5),
    ]  # fmt: skip


def test_an_exemplar_leads_to_its_trace_where_there_is_room_for_it() -> None:
    """OpenMetrics has; the plain form has not, and says the same numbers."""
    sample = Sample(names.QUEUE_WAIT, Distribution((0.5,), (0, 1), 0.75, {1: (0.75, MARK)}), ("coder",))
    parsed(sample)
    (family,) = opened_families(sample)
    (exemplar,) = [sample.exemplar for sample in family.samples if sample.exemplar is not None]
    assert exemplar.labels == {"trace_id": MARK.trace_id, "span_id": MARK.span_id}
    assert (exemplar.value, float(exemplar.timestamp or 0)) == (0.75, 1_700_000_000.25)
    assert b"trace_id" not in as_text([sample])


def test_every_metric_can_be_written_with_its_labels() -> None:
    """In both forms, as strict readers take them."""
    samples = [
        Sample(name, Distribution((1.0,), (1, 0), 0.5) if metric.kind == "histogram" else 1.0, metric.labels)
        for name, metric in METRICS.items()
    ]
    assert len(parsed(*samples)) == len(METRICS)


def test_a_sample_has_as_many_labels_as_its_metric() -> None:
    """One label short would be a number under the wrong name."""
    with pytest.raises(AssertionError):
        as_text([Sample(names.SLOTS, 1.0, ("coder",))])


def test_the_process_metrics_have_prometheus_standard_names() -> None:
    found = {sample.name for sample in process_samples()}
    assert found >= {
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "process_open_fds",
        "process_max_fds",
    }
    assert found <= set(METRICS)
