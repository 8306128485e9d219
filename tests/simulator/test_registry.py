"""What pulls find, how they fail, and that they go on where they were cut."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from tests.simulator.conftest import FAST, Client, Reply, ask, connect

from ai_gateway.simulator import Content, Fault, Simulator
from ai_gateway.simulator.endpoint import Endpoint

V1 = "coder:v1"


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """Two endpoints that share a registry."""
    async with Simulator(FAST, count=2) as simulator:
        simulator.registry.publish(Content(name=V1, content="one", size=1000))
        yield simulator


async def pull(endpoint: Endpoint, name: str = V1) -> Reply:
    """The answer to a pull."""
    return await ask(endpoint, "POST", "/api/pull", {"model": name})


async def digests(endpoint: Endpoint) -> dict[str, str]:
    """The digests of /api/tags, by name."""
    return {row["name"]: row["digest"] for row in (await ask(endpoint, "GET", "/api/tags")).json["models"]}


async def test_all_endpoints_pull_the_same_content(simulator: Simulator) -> None:
    for endpoint in simulator.endpoints:
        assert (await pull(endpoint)).lines[-1] == {"status": "success"}
    first, second = [(await digests(endpoint))[V1] for endpoint in simulator.endpoints]
    assert first == second


async def test_a_tag_that_was_moved_changes_with_the_next_pull(simulator: Simulator) -> None:
    endpoint = simulator.endpoints[0]
    await pull(endpoint)
    before = (await digests(endpoint))[V1]
    simulator.registry.publish(Content(name=V1, content="two", size=2000))
    assert (await digests(endpoint))[V1] == before
    assert (await pull(endpoint)).lines[-1] == {"status": "success"}
    assert (await digests(endpoint))[V1] != before


async def test_two_names_of_one_content_have_one_digest_and_one_download(simulator: Simulator) -> None:
    endpoint = simulator.endpoints[0]
    simulator.registry.publish(Content(name="coder:best", content="one", size=1000))
    await pull(endpoint)
    downloaded = endpoint.pod.store.downloaded.total()
    await pull(endpoint, "coder:best")
    found = await digests(endpoint)
    assert found["coder:best"] == found[V1]
    assert endpoint.pod.store.downloaded.total() == downloaded


async def test_a_name_that_was_withdrawn_is_not_found(simulator: Simulator) -> None:
    endpoint = simulator.endpoints[0]
    assert (await ask(endpoint, "DELETE", f"/simulator/registry/{V1}")).status == 200
    reply = await pull(endpoint)
    assert (reply.status, reply.lines[-1]) == (200, {"error": "pull model manifest: file does not exist"})


@pytest.mark.parametrize(
    ("kind", "message", "left"),
    [
        ("disk_full", "no space left on device", 500),
        ("bad_digest", "digest mismatch", 0),
        ("no_registry", "no such host", 0),
    ],
)
async def test_a_failing_pull_ends_its_200_stream_with_an_error(
    simulator: Simulator, kind: str, message: str, left: int
) -> None:
    """The model is not there, and the next pull is well."""
    endpoint = simulator.endpoints[0]
    fault = {"kind": kind, "count": 1}
    assert (await ask(endpoint, "POST", "/simulator/faults", fault)).status == 201
    reply = await pull(endpoint)
    assert (reply.status, message in reply.lines[-1]["error"]) == (200, True)
    assert sum(endpoint.pod.store.partial.values()) == left
    assert V1 not in await digests(endpoint)
    assert (await pull(endpoint)).lines[-1] == {"status": "success"}


@pytest.mark.parametrize("kind", ["cut", "eof", "end"])
async def test_a_pull_that_was_cut_goes_on_where_it_was(simulator: Simulator, kind: str) -> None:
    """No byte comes twice."""
    endpoint = simulator.endpoints[0]
    endpoint.faults.add(Fault(kind=kind, path="/api/pull", count=1, share=0.25))  # type: ignore[arg-type]
    broken = await pull(endpoint)
    assert b"success" not in broken.body
    assert broken.is_whole is (kind == "end")
    assert (await ask(endpoint, "GET", "/simulator/state")).json["partial_bytes"] == 250
    lines = (await pull(endpoint)).lines
    assert next(line["completed"] for line in lines if "total" in line) == 250
    assert lines[-1] == {"status": "success"}
    assert max(endpoint.pod.store.downloaded.values()) == 1000


async def test_a_client_that_leaves_cuts_its_pull(simulator: Simulator) -> None:
    """At the rate of the registry; what has come stays until the pod starts anew."""
    endpoint = simulator.endpoints[0]
    simulator.registry.bytes_per_second = 1000.0
    client: Client = await connect(endpoint)
    client.send("POST", "/api/pull", {"model": V1})
    async with asyncio.timeout(30):
        while b'"completed"' not in await client.reader.readline():
            pass
    await client.close()
    async with asyncio.timeout(30):
        while endpoint.ledger.running:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.002)
    assert 0 < sum(endpoint.pod.store.partial.values()) < 1000
    endpoint.restart()
    assert not endpoint.pod.store.partial


async def test_a_disk_that_is_lost_is_empty(simulator: Simulator) -> None:
    endpoint = simulator.endpoints[0]
    await pull(endpoint)
    for body, left in (({}, {V1}), ({"keeps_disk": True}, {V1}), ({"keeps_disk": False}, set())):
        with suppress(ConnectionResetError):  # the connection dies with the pod
            await ask(endpoint, "POST", "/simulator/restart", body)
        assert set(await digests(endpoint)) & {V1} == left
    assert await digests(endpoint) == {}
    assert (await ask(endpoint, "POST", "/simulator/restart", {"keeps": 1})).status == 400


async def test_what_no_model_has_any_more_is_downloaded_anew(simulator: Simulator) -> None:
    """A copy keeps it."""
    endpoint = simulator.endpoints[0]
    await pull(endpoint)
    await ask(endpoint, "POST", "/api/copy", {"source": V1, "destination": "mine"})
    await ask(endpoint, "DELETE", "/api/delete", {"model": V1})
    await pull(endpoint)
    assert max(endpoint.pod.store.downloaded.values()) == 1000
    for name in (V1, "mine"):
        await ask(endpoint, "DELETE", "/api/delete", {"model": name})
    await pull(endpoint)
    assert max(endpoint.pod.store.downloaded.values()) == 2000


async def test_the_registry_is_told_of_contents_at_run_time(simulator: Simulator) -> None:
    """One or several, on any endpoint for all; what is no name is refused."""
    first, second = simulator.endpoints
    contents = [{"name": "a:x", "content": "one", "size": 7}, {"name": "b", "content": "two"}]
    assert (await ask(first, "POST", "/simulator/registry", contents)).status == 201
    told = (await ask(second, "GET", "/simulator/registry")).json["published"]
    assert told == [{"name": V1, "content": "one", "size": 1000}, *contents]
    assert (await pull(second, "a:x")).lines[-1] == {"status": "success"}
    for wrong in ({"name": "no name", "content": "x"}, {"name": "a"}, [1]):
        assert (await ask(first, "POST", "/simulator/registry", wrong)).status == 400
    assert (await ask(first, "DELETE", "/simulator/registry")).status == 404
