"""What the server refused before it was a request."""

from ai_gateway.telemetry.refused import Refused


def test_refusals_are_counted_by_status_and_code() -> None:
    refused = Refused()
    for status, code in ((400, "bad_request"), (408, "request_timeout"), (400, "bad_request")):
        refused(status, code)
    found = {reading.labels: reading.value for reading in refused.readings()}
    assert found == {("400", "bad_request"): 2, ("408", "request_timeout"): 1}
