"""Audit entries reach a collector as log records, and nothing counts as kept that it did not take."""

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from tests.audit.writing import NOON_NS, Chain, entry
from tests.flow.upstream import whole
from tests.tracing.receiver import Receiver, receiving

from ai_gateway.audit.otlp import OtlpStore
from ai_gateway.audit.store import StoreUnavailable
from ai_gateway.telemetry import names
from ai_gateway.telemetry.audit_export import AuditExport


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A collector."""
    with receiving() as running:
        yield running


@pytest.fixture
def store(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[OtlpStore]:
    """What goes to it."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    export = AuditExport({"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url})
    made = OtlpStore(export, export.close)
    yield made
    made.close()


def records(receiver: Receiver) -> list[Any]:
    """All log records that came."""
    found = []
    for body in receiver.bodies:
        for resource in ExportLogsServiceRequest.FromString(body).resource_logs:
            resource_attributes = {one.key: one.value.string_value for one in resource.resource.attributes}
            assert resource_attributes["service.name"] == "ai-gateway-ollama"
            found += [record for scope in resource.scope_logs for record in scope.log_records]
    return found


def attributes(record: Any) -> dict[str, Any]:
    """Without their prefix."""
    found = {}
    for one in record.attributes:
        assert one.key.startswith(names.AUDIT)
        found[one.key.removeprefix(names.AUDIT)] = getattr(one.value, one.value.WhichOneof("value"))
    return found


def test_an_entry_is_a_record_with_all_that_is_known(receiver: Receiver, store: OtlpStore) -> None:
    (made,), (digest,) = Chain().numbered([entry(tokens_in=7, model_asked="llama3")])
    store.write([made], [digest])
    (record,) = records(receiver)
    found = attributes(record)
    assert found["hash"] == digest.hex()
    assert (found["actor"], found["status"], found["stream"], found["tokens_in"]) == ("anonymous", 200, True, 7)
    assert "tenant" not in found
    assert record.event_name == names.AUDIT_EVENT
    assert record.time_unix_nano == NOON_NS
    assert record.trace_id.hex() == made.trace_id
    assert receiver.paths == ["/v1/logs"]


def test_a_checkpoint_is_a_record_of_its_own(receiver: Receiver, store: OtlpStore) -> None:
    made = Chain().checkpoint(NOON_NS)
    store.write_checkpoint(made)
    assert attributes(records(receiver)[0])["checkpoint.seal"] == made.seal


def test_large_entries_go_in_several_messages(receiver: Receiver, store: OtlpStore) -> None:
    """Collectors refuse what is too large as a whole."""
    store.write(*Chain().numbered([entry(answer_content="x" * 300_000) for _ in range(10)]))
    assert len(records(receiver)) == 10
    assert max(map(len, receiver.bodies)) < 2 << 20


def test_what_a_collector_refuses_is_not_written(receiver: Receiver, store: OtlpStore) -> None:
    receiver.answer = whole(b"no", "400 Bad Request")
    with pytest.raises(StoreUnavailable):
        store.write(*Chain().numbered([entry()]))
