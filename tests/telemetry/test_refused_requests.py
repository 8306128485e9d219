"""Counts of requests that the server refused before the app saw them."""

from ai_gateway.telemetry.refused_requests import RefusedRequests


def test_refusals_are_counted_by_status_and_code() -> None:
    refused = RefusedRequests()
    for status, code in ((400, "bad_request"), (408, "request_timeout"), (400, "bad_request")):
        refused(status, code)
    found = {sample.labels: sample.value for sample in refused.samples()}
    assert found == {("400", "bad_request"): 2, ("408", "request_timeout"): 1}
