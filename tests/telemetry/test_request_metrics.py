"""The counts of finished requests: each once, with a bounded set of labels."""

from typing import Any

import pytest
from tests.telemetry.calls import TRACE, attempt, refused, served

from ai_gateway.exchange import Caller, Exchange
from ai_gateway.telemetry import names
from ai_gateway.telemetry.meanings import METRICS
from ai_gateway.telemetry.request_metrics import MOST_ROWS, RequestMetrics, caller_label
from ai_gateway.telemetry.series import Distribution, Mark
from ai_gateway.wire.trace_context import Trace
from ai_gateway.wire.usage import Usage

CALL = ("chat", "ollama", "coder")


def counted(*exchanges: Exchange, exemplars: str = "trace_based") -> dict[tuple[str, ...], float | Distribution]:
    """Every number after these, by the metric's name and its labels' values."""
    metrics = RequestMetrics(exemplars)
    for exchange in exchanges:
        metrics(exchange)
    found = {(sample.name, *sample.labels): sample.value for sample in metrics.samples()}
    for name, *labels in found:
        assert len(labels) == len(METRICS[name].labels), name
    return found


def total(value: Any) -> float:
    """The sum of what was observed, once."""
    assert isinstance(value, Distribution)
    assert value.count == 1
    return round(value.total, 9)


def test_a_successful_stream_is_counted_in_all_metrics() -> None:
    """Each time from where it begins; the mean of the tokens behind the first one."""
    found = counted(served())
    path = "/v1/chat/completions"
    counts = {key: value for key, value in found.items() if not isinstance(value, Distribution)}
    sums = {key: total(value) for key, value in found.items() if isinstance(value, Distribution)}
    assert counts == {
        (names.REQUESTS, path, "coder", "anonymous", "200", "", ""): 1,
        (names.CALLER_TOKENS, "anonymous", "coder", "input"): 12,
        (names.CALLER_TOKENS, "anonymous", "coder", "output"): 5,
        (names.PICKS, "coder", "least_in_flight"): 1,
        (names.RETRIES, "coder"): 0,
    }
    assert sums == {
        (names.HTTP_DURATION, "POST", "http", path, "200", ""): 4.0,
        (names.SERVER_DURATION, *CALL, ""): 4.0,
        (names.CLIENT_DURATION, *CALL, ""): 3.5,
        (names.FIRST_TOKEN, *CALL): 2.0,
        (names.PER_TOKEN, *CALL): 0.5,
        (names.TOKEN_USAGE, *CALL, "input"): 12.0,
        (names.TOKEN_USAGE, *CALL, "output"): 5.0,
        (names.QUEUE_WAIT, "coder"): 0.5,
    }


def test_a_whole_answer_has_no_first_token() -> None:
    """Its head comes when the last token is written."""
    cold = attempt(10.5, is_warm=False)
    found = counted(served(stream=False, attempts=[cold]))
    assert not any(key[0] in (names.FIRST_TOKEN, names.PER_TOKEN, names.LOAD_AND_PREFILL) for key in found)
    assert total(found[names.SERVER_DURATION, *CALL, ""]) == 4.0


@pytest.mark.parametrize(("operation", "word"), [("completions", "text_completion"), ("embeddings", "embeddings")])
def test_operations_have_the_conventions_names(operation: Any, word: str) -> None:
    found = counted(served(operation))
    assert (names.SERVER_DURATION, word, "ollama", "coder", "") in found


def test_embeddings_have_no_tokens_of_an_answer() -> None:
    """A row of zeros would say that there might be some."""
    found = counted(served("embeddings", usage=Usage(7, 0)))
    kinds = {key[-1] for key in found if key[0] == names.TOKEN_USAGE}
    assert kinds == {"input"}


@pytest.mark.parametrize("operation", ["chat", "embeddings"])
def test_a_load_is_counted_where_the_model_was_not_resident(operation: Any) -> None:
    """From the sending to the first byte: without the queue."""
    found = counted(served(operation, attempts=[attempt(10.5, is_warm=False)]))
    assert total(found[names.LOAD_AND_PREFILL, "coder"]) == 1.5


def test_a_second_attempt_is_one_retry_and_two_picks() -> None:
    """The wait is the first one's; the operation is that of the last."""
    found = counted(served(attempts=[attempt(10.25, "only"), attempt(11.0, "least_in_flight")], leased_at=10.25))
    assert found[names.RETRIES, "coder"] == 1
    assert found[names.PICKS, "coder", "only"] == found[names.PICKS, "coder", "least_in_flight"] == 1
    assert total(found[names.QUEUE_WAIT, "coder"]) == 0.25
    assert total(found[names.CLIENT_DURATION, *CALL, ""]) == 3.0


def test_a_refusal_is_no_operation_and_no_wait() -> None:
    """`queue_full` has not waited: a row of zeros would make the queue look quick."""
    found = counted(refused("queue_full"))
    assert found[
        names.REQUESTS, "/v1/chat/completions", "coder", "anonymous", "503", "backend_unavailable", "queue_full"
    ]
    assert total(found[names.SERVER_DURATION, *CALL, "queue_full"]) == 4.0
    assert not any(key[0] in (names.CLIENT_DURATION, names.QUEUE_WAIT, names.PICKS) for key in found)


@pytest.mark.parametrize(("code", "outcome"), [("queue_timeout", "refused"), (None, "client_left")])
def test_a_wait_in_vain_is_a_wait(code: str | None, outcome: str) -> None:
    """Those are the longest ones."""
    found = counted(refused(error_code=code, kind=outcome))
    assert total(found[names.QUEUE_WAIT, "coder"]) == 4.0


def test_the_wait_for_a_load_is_counted_apart() -> None:
    """Of half a second 0.4 s passed until the model was loaded: the rest is the queue's."""
    found = counted(served(load_wait_seconds=0.4))
    assert total(found[names.LOAD_WAIT, "coder"]) == 0.4
    assert total(found[names.QUEUE_WAIT, "coder"]) == 0.1
    assert (names.LOAD_WAIT, "coder") not in counted(served())


@pytest.mark.parametrize("code", ["model_loading", "load_failed"])
def test_a_load_that_was_waited_for_in_vain_is_counted(code: str) -> None:
    found = counted(refused(code, load_wait_seconds=4.0))
    assert total(found[names.LOAD_WAIT, "coder"]) == 4.0
    assert total(found[names.QUEUE_WAIT, "coder"]) == 0.0


def test_a_disconnect_is_counted_by_its_outcome() -> None:
    """It got the head of a stream; tokens that were computed count."""
    found = counted(served(kind="client_left"))
    path = "/v1/chat/completions"
    assert found[names.REQUESTS, path, "coder", "anonymous", "200", "", "client_left"] == 1
    assert total(found[names.HTTP_DURATION, "POST", "http", path, "200", "client_left"]) == 4.0
    assert found[names.CALLER_TOKENS, "anonymous", "coder", "output"] == 5
    assert not any(key[0] in (names.FIRST_TOKEN, names.PER_TOKEN) for key in found)


def test_a_broken_stream_is_counted_by_the_status_of_its_error() -> None:
    """The client had 200 already; a count of failures must include the 502."""
    broken: dict[str, Any] = {"status": 502, "error_code": "upstream_disconnected", "error_type": "backend_unavailable"}
    found = counted(served(kind="upstream_broke", **broken))
    path, code = "/v1/chat/completions", "upstream_disconnected"
    assert found[names.REQUESTS, path, "coder", "anonymous", "502", "backend_unavailable", code] == 1
    assert (names.HTTP_DURATION, "POST", "http", path, "200", code) in found


def test_a_client_that_left_before_the_answer_got_no_status() -> None:
    found = counted(refused(sent_status=None, status=499, error_code=None, error_type=None, kind="client_left"))
    assert (names.HTTP_DURATION, "POST", "http", "/v1/chat/completions", "", "client_left") in found


def test_a_clients_own_text_is_never_a_label() -> None:
    """Not a path, a method or a model; nor whom a token alone names."""
    exchange = refused("model_not_found", 404, model=None, model_label=None, route=None, method="BREW")
    exchange.path, exchange.caller = "/MADE-UP", Caller("MADE-UP")
    found = counted(exchange)
    assert set(found) == {
        (names.REQUESTS, "", "", "other", "404", "invalid_request", "model_not_found"),
        (names.HTTP_DURATION, "_OTHER", "http", "", "404", "model_not_found"),
    }
    assert caller_label(Caller()) == "anonymous"


def test_an_answer_without_a_count_has_no_tokens() -> None:
    found = counted(served(usage=None), served(usage=Usage(-1, -5)))
    assert not any(key[0] == names.TOKEN_USAGE for key in found)
    assert found[names.CALLER_TOKENS, "anonymous", "coder", "output"] == 0


def test_a_single_token_has_no_time_between_tokens() -> None:
    found = counted(served(usage=Usage(3, 1)))
    assert not any(key[0] == names.PER_TOKEN for key in found)


def test_requests_with_equal_labels_are_added_up() -> None:
    found = counted(served(), served(), refused("queue_full"), served())
    assert found[names.REQUESTS, "/v1/chat/completions", "coder", "anonymous", "200", "", ""] == 3
    tokens = found[names.TOKEN_USAGE, *CALL, "input"]
    assert isinstance(tokens, Distribution)
    assert (tokens.count, tokens.total) == (3, 36.0)


def test_numbers_outlive_the_rows_that_lead_to_them() -> None:
    """Rows are many, for they are by everything; when there are too many the cache is cleared."""
    exchanges = [
        served(status=200 + number % 2, sent_status=200, error_type=str(number)) for number in range(MOST_ROWS + 2)
    ]
    found = counted(*exchanges)
    tokens = found[names.TOKEN_USAGE, *CALL, "input"]
    assert isinstance(tokens, Distribution)
    assert tokens.count == MOST_ROWS + 2
    assert found[names.PICKS, "coder", "least_in_flight"] == MOST_ROWS + 2


@pytest.mark.parametrize(
    ("word", "is_recorded", "is_marked"),
    [
        ("trace_based", True, True),
        ("trace_based", False, False),
        ("always_on", False, True),
        ("always_off", True, False),
    ],
)
def test_exemplars_are_of_requests_that_have_spans_or_all_or_none(
    word: str, is_recorded: bool, is_marked: bool
) -> None:
    """OTEL_METRICS_EXEMPLAR_FILTER. Its time is that of the request's end."""
    trace = Trace(TRACE.trace_id, TRACE.span_id, is_recorded=is_recorded)
    found = counted(served(trace=trace), exemplars=word)
    expected = [(4.0, Mark(TRACE.trace_id, TRACE.span_id, 1_700_000_004.0))] if is_marked else []
    for key, value in found.items():
        if isinstance(value, Distribution):
            assert len(value.exemplars) == len(expected), key
    http = found[names.HTTP_DURATION, "POST", "http", "/v1/chat/completions", "200", ""]
    assert isinstance(http, Distribution)
    assert list(http.exemplars.values()) == expected
