"""A refused config becomes one Event, however many gateways refuse it, and costs nothing where it cannot be sent."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, cast

import pytest
from tests.flow.waiting import until

from ai_gateway.cluster.api import ApiServer, StatusFailure, Unreachable
from ai_gateway.cluster.events import MAX_WAITING, Events, Reason, Subject

SUBJECT = Subject("ConfigMap", "ai", "models", "uid-1", "100")


class Server:
    """Events of one namespace, as an API server keeps them."""

    def __init__(self) -> None:
        self.events: dict[str, dict[str, Any]] = {}
        self.failures: list[Exception] = []
        self.asked: list[tuple[str, str, dict[str, Any]]] = []
        self.version = 0

    def send(self, method: str, path: str, body: Mapping[str, Any], read_seconds: float) -> bytes:
        """See ApiServer."""
        self.asked.append((method, path, dict(body)))
        if self.failures:
            raise self.failures.pop(0)
        name = path.rpartition("/")[2] if method == "PATCH" else body["metadata"]["name"]
        if method == "POST" and name in self.events:
            raise StatusFailure(409, "already exists")
        known = self.events.get(name, {"metadata": {"name": name, "resourceVersion": "0"}})
        wanted = body.get("metadata", {}).get("resourceVersion")
        if wanted is not None and wanted != known["metadata"]["resourceVersion"]:
            raise StatusFailure(409, "the object has been modified")
        if body:
            self.version += 1
            meta = {**known["metadata"], "resourceVersion": str(self.version)}
            self.events[name] = {**known, **body, "metadata": meta}
        return json.dumps(self.events[name]).encode()


async def report(server: Server, *reports: tuple[str, str, str]) -> Events:
    """Reports `(digest, resource version of the ConfigMap, message)`, all sent."""
    events = Events(cast("ApiServer", server))
    for digest, version, message in reports:
        events.report(Subject("ConfigMap", "ai", "models", "uid-1", version), digest, message)
    running = asyncio.create_task(events.run())
    await until(lambda: not events.is_busy, "everything is sent")
    running.cancel()
    return events


async def test_an_event_says_what_is_wrong_with_which_object() -> None:
    """Under a name made of the content's hash."""
    server = Server()
    await report(server, ("abc", "100", "models.a: unknown key"))
    event = server.events["models.abc"]
    assert (event["type"], event["reason"], event["message"]) == ("Warning", "ConfigRejected", "models.a: unknown key")
    assert event["involvedObject"]["name"] == "models"
    assert event["involvedObject"]["uid"] == "uid-1"
    assert event["count"] == 1
    assert server.asked[0][:2] == ("POST", "/api/v1/namespaces/ai/events")


async def test_the_same_edit_seen_by_another_gateway_is_the_same_event() -> None:
    """Its count stays."""
    server = Server()
    for _ in range(3):
        await report(server, ("abc", "100", "wrong"))
    assert [event["count"] for event in server.events.values()] == [1]


async def test_the_same_mistake_made_again_raises_the_count() -> None:
    """Once for all gateways; the time of the first stays."""
    server = Server()
    await report(server, ("abc", "100", "wrong"))
    server.events["models.abc"]["firstTimestamp"] = "2026-01-01T00:00:00Z"
    for _ in range(3):
        await report(server, ("abc", "107", "wrong"))
    assert server.events["models.abc"]["count"] == 2
    assert server.events["models.abc"]["firstTimestamp"] == "2026-01-01T00:00:00Z"


class Raced(Server):
    """Another gateway counts an edit after this one reads the Event and before it counts."""

    def __init__(self, edit: str) -> None:
        super().__init__()
        self._edit = edit

    def send(self, method: str, path: str, body: Mapping[str, Any], read_seconds: float) -> bytes:
        """See ApiServer."""
        answer = super().send(method, path, body, read_seconds)
        known = self.events["models.abc"]
        if method == "PATCH" and not body and known["count"] == 1:
            about = {**known["involvedObject"], "resourceVersion": self._edit}
            super().send("PATCH", path, {"count": 2, "involvedObject": about}, read_seconds)
        return answer


@pytest.mark.parametrize(("edit", "count"), [("107", 2), ("108", 3)])
async def test_two_gateways_that_count_at_once_lose_no_count(edit: str, count: int) -> None:
    """The loser of the race reads again: it counts the same edit once, and loses no other edit."""
    server = Raced(edit)
    events = await report(server, ("abc", "100", "wrong"), ("abc", "107", "wrong"))
    assert server.events["models.abc"]["count"] == count
    assert events.total_dropped == 0


async def test_an_event_that_could_not_be_sent_is_sent_a_second_later() -> None:
    """An API server that is away for a moment costs no Event."""
    server = Server()
    server.failures = [Unreachable("Connection refused")]
    events = await report(server, ("abc", "100", "wrong"))
    assert list(server.events) == ["models.abc"]
    assert events.total_dropped == 0


@pytest.mark.parametrize("status", [403, 404])
async def test_a_missing_right_is_logged_once_and_nothing_waits_for_it(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server()
    server.failures = [StatusFailure(status, "events is forbidden")] * 5
    events = await report(server, *((str(number), "100", "wrong") for number in range(5)))
    assert events.total_dropped == 5
    assert caplog.text.count("grant create and patch on events") == 1


async def test_reports_beyond_the_queue_are_dropped_and_counted() -> None:
    """An API server that is away must not fill the memory."""
    server = Server()
    server.failures = [Unreachable("away")] * 10_000
    events = Events(cast("ApiServer", server))
    for number in range(MAX_WAITING + 7):
        events.report(SUBJECT, str(number), "wrong")
    assert events.total_dropped == 7


async def test_a_refused_config_waits_for_no_model() -> None:
    """A thousand models that are in place at once hold it back by nothing, and take none of its places."""
    server = Server()
    events = Events(cast("ApiServer", server))
    for number in range(1000):
        events.report(SUBJECT, f"m{number}", "model a: is in place", "ModelReady")
    events.report(SUBJECT, "abc", "wrong")
    assert events.total_dropped == 1000 - MAX_WAITING
    running = asyncio.create_task(events.run())
    await until(lambda: server.events, "something is sent")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert next(iter(server.events)) == "models.abc"


@pytest.mark.parametrize(("reason", "kind"), [("ModelReady", "Normal"), ("ModelFailed", "Warning")])
async def test_an_event_of_a_model_says_whether_it_is_well(reason: Reason, kind: str) -> None:
    """The same news of two gateways, or of one that was started anew, is one Event."""
    server = Server()
    for _ in range(2):
        events = Events(cast("ApiServer", server))
        events.report(SUBJECT, "abc", "model a: x", reason)
        running = asyncio.create_task(events.run())
        await until(lambda: not events.is_busy, "everything is sent")  # noqa: B023 - awaited here
        running.cancel()
    (event,) = server.events.values()
    assert (event["type"], event["reason"], event["message"], event["count"]) == (kind, reason, "model a: x", 1)


async def test_a_long_message_is_cut_between_characters() -> None:
    """The API takes 1024 bytes."""
    server = Server()
    await report(server, ("abc", "100", "x" + "ä" * 1000))
    message = server.events["models.abc"]["message"]
    assert len(message.encode()) == 1023
    assert message.endswith("ä")


async def test_a_long_name_leaves_room_for_the_hash() -> None:
    """An object's name may have 253 characters, and so may the ConfigMap's."""
    server = Server()
    events = Events(cast("ApiServer", server))
    events.report(Subject("ConfigMap", "ai", "m" * 253, "uid-1", "1"), "0123456789abcdef", "wrong")
    running = asyncio.create_task(events.run())
    await until(lambda: bool(server.events))
    running.cancel()
    (name,) = server.events
    assert len(name) <= 253
    assert name.endswith(".0123456789abcdef")


async def test_more_than_a_burst_waits_for_its_turn() -> None:
    """50 at once, then one a second: an API server is not flooded by a gateway that is fed nonsense."""
    server = Server()
    events = Events(cast("ApiServer", server))
    for number in range(60):
        events.report(SUBJECT, str(number), "wrong")
    running = asyncio.create_task(events.run())
    await until(lambda: len(server.asked) == 50)
    running.cancel()
    assert events.is_busy
    assert events.total_dropped == 0


class Odd(Server):
    """What answers is no API server."""

    def send(self, method: str, path: str, body: Mapping[str, Any], read_seconds: float) -> bytes:
        """See ApiServer."""
        if method == "PATCH":
            return b"<html>"
        return super().send(method, path, body, read_seconds)


async def test_an_invalid_answer_ends_no_later_report(caplog: pytest.LogCaptureFixture) -> None:
    """It is dropped and counted; formerly nothing was ever sent after it."""
    server = Odd()
    events = await report(server, ("abc", "100", "wrong"), ("abc", "107", "wrong"), ("abd", "100", "wrong"))
    assert list(server.events) == ["models.abc", "models.abd"]
    assert events.total_dropped == 1
    assert "cannot send a Kubernetes Event" in caplog.text


async def test_a_message_with_half_a_surrogate_pair_is_sent_without_it() -> None:
    """YAML may hold half a surrogate pair, as a key in a reason; formerly no Event came after it."""
    server = Server()
    await report(server, ("abc", "100", "models.a\ud800: unknown key"), ("abd", "100", "wrong"))
    assert [event["message"] for event in server.events.values()] == ["models.a?: unknown key", "wrong"]
