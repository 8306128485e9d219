"""Metrics are what Prometheus reads, whatever stands in a label."""

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from ai_gateway.telemetry.metrics import Reading, as_text

HOSTILE = 'x"} 1\nai_gateway_up 1\r\n\\n\\"\\ü\u2028'


def parsed(*readings: Reading) -> list[Metric]:
    """As Prometheus reads what is written of these."""
    return list(text_string_to_metric_families(as_text(readings).decode()))


def test_readings_of_one_name_are_one_metric_with_its_kind_and_meaning() -> None:
    """Also when another name stands between them: Prometheus refuses a name that comes twice."""
    states = [
        Reading("endpoints", "gauge", "By state.", count, {"state": state}) for state, count in (("up", 2), ("down", 0))
    ]
    families = parsed(states[0], Reading("lists_total", "counter", "Lists.", 3), states[1])
    assert [(family.name, family.type, family.documentation) for family in families] == [
        ("ai_gateway_endpoints", "gauge", "By state."),
        ("ai_gateway_lists", "counter", "Lists."),
    ]
    assert [(sample.labels, sample.value) for sample in families[0].samples] == [
        ({"state": "up"}, 2.0),
        ({"state": "down"}, 0.0),
    ]


def test_a_counter_ends_in_total_once() -> None:
    """As its name does in the code already; and no second series says when it was made."""
    (family,) = parsed(Reading("config_rejected_total", "counter", "Contents.", 4))
    assert [(sample.name, sample.value) for sample in family.samples] == [("ai_gateway_config_rejected_total", 4.0)]


@pytest.mark.parametrize("value", [HOSTILE, "\n", '"', "\\", "", "{}", "a,b=c", "# HELP x"])
def test_a_label_comes_back_as_it_was_whatever_it_says(value: str) -> None:
    """A source or a path may hold anything; none of it becomes a line or a metric of its own."""
    labels = {"source": value, "hash": "abc"}
    (family,) = parsed(Reading("config_info", "gauge", "The config in force.", 1, labels))
    assert [(sample.name, sample.labels) for sample in family.samples] == [("ai_gateway_config_info", labels)]


def test_a_meaning_is_one_line() -> None:
    (family,) = parsed(Reading("age_seconds", "gauge", "One\ntwo \\ three.", 0.25))
    assert family.documentation == "One\ntwo \\ three."
    assert [sample.value for sample in family.samples] == [0.25]


@pytest.mark.parametrize(
    ("value", "written"), [(True, 1.0), (False, 0.0), (1.7e9, 1.7e9), (float("inf"), float("inf"))]
)
def test_a_value_is_a_number(value: float, written: float) -> None:
    """Also a yes or no, and one that has no end."""
    (family,) = parsed(Reading("discovery_failing", "gauge", "Whether.", value))
    assert [sample.value for sample in family.samples] == [written]


def test_no_reading_is_no_text() -> None:
    assert as_text(()) == b""
