"""Fault injection, seen from the client's side of the socket."""

import asyncio
import json

import pytest
from tests.simulator.conftest import FAST, HELLO, Reply, ask, chat, connect, until

from ai_gateway.simulator import Fault, Settings, Simulator
from ai_gateway.simulator.endpoint import Endpoint
from ai_gateway.simulator.faults import Faults


async def broken_chat(endpoint: Endpoint, fault: Fault) -> Reply:
    """A stream with a fault after its second token."""
    endpoint.faults.add(fault)
    return await chat(endpoint, stream=True)


async def test_a_refused_endpoint_refuses_connections_and_comes_back(endpoint: Endpoint) -> None:
    endpoint.faults.add(Fault(kind="refuse"))
    with pytest.raises(ConnectionRefusedError):
        await ask(endpoint, "GET", "/api/version")
    endpoint.faults.clear()
    assert (await ask(endpoint, "GET", "/api/version")).status == 200


async def test_refusing_for_a_while_ends_by_itself(endpoint: Endpoint) -> None:
    endpoint.faults.add(Fault(kind="refuse", seconds=0.05))
    assert not endpoint.is_open
    await until(lambda: endpoint.is_open)
    assert (await ask(endpoint, "GET", "/api/version")).status == 200


async def test_a_hanging_endpoint_never_answers_but_shows_its_version(endpoint: Endpoint) -> None:
    endpoint.faults.add(Fault(kind="hang"))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(chat(endpoint), 0.1)
    assert (await ask(endpoint, "GET", "/api/version")).status == 200


async def test_an_error_status_has_the_shape_of_its_api(endpoint: Endpoint) -> None:
    endpoint.faults.add(Fault(kind="status", status=500, message="failed to load model"))
    assert (await chat(endpoint)).json["error"]["message"] == "failed to load model"
    native = await ask(endpoint, "POST", "/api/chat", {"model": "llama3", "messages": HELLO})
    assert (native.status, native.json) == (500, {"error": "failed to load model"})


async def test_busy_is_ollamas_own_503(endpoint: Endpoint) -> None:
    reply = await broken_chat(endpoint, Fault(kind="busy"))
    assert (reply.status, "retry-after" in reply.headers) == (503, False)
    assert reply.json["error"]["message"] == "server busy, please try again.  maximum pending requests exceeded"


async def test_a_drop_is_a_reset_before_the_head(endpoint: Endpoint) -> None:
    with pytest.raises(ConnectionResetError):
        await broken_chat(endpoint, Fault(kind="drop"))


async def test_a_cut_is_a_reset_after_so_many_tokens(endpoint: Endpoint) -> None:
    endpoint.faults.add(Fault(kind="cut", after_tokens=2))
    client = await connect(endpoint)
    client.send("POST", "/v1/chat/completions", {"model": "llama3", "messages": HELLO, "stream": True})
    got = await client.reader.readuntil(b'"content":" am"')
    with pytest.raises(ConnectionResetError):
        await client.reader.readuntil(b'"content":" a"')
    assert got.count(b"data: ") == 2
    await client.close()


async def test_a_truncated_stream_ends_well_with_an_empty_model(endpoint: Endpoint) -> None:
    reply = await broken_chat(endpoint, Fault(kind="truncate", after_tokens=2))
    assert reply.is_whole
    assert [event["model"] for event in reply.events] == ["llama3", "llama3", ""]
    assert reply.events[-1]["choices"][0] == {"index": 0, "delta": {"content": ""}, "finish_reason": None}


async def test_a_truncated_native_stream_says_why(endpoint: Endpoint) -> None:
    endpoint.faults.add(Fault(kind="truncate", after_tokens=1))
    reply = await ask(endpoint, "POST", "/api/chat", {"model": "llama3", "messages": HELLO})
    assert (reply.status, list(reply.lines[-1])) == (200, ["error"])


@pytest.mark.parametrize("kind", ["end", "loop_guard"])
async def test_an_early_end_has_no_finish_and_no_done(endpoint: Endpoint, kind: str) -> None:
    reply = await broken_chat(endpoint, Fault(kind=kind, after_tokens=2))  # type: ignore[arg-type]
    assert reply.is_whole
    assert [event["choices"][0]["finish_reason"] for event in reply.events] == [None, None]


async def test_the_loop_guard_leaves_a_whole_answer_without_reason_and_usage(endpoint: Endpoint) -> None:
    endpoint.faults.add(Fault(kind="loop_guard"))
    answer = (await chat(endpoint)).json
    assert (answer["choices"][0]["finish_reason"], answer["usage"]["total_tokens"]) == (None, 0)


async def test_an_eof_cuts_the_body_with_a_fin(endpoint: Endpoint) -> None:
    reply = await broken_chat(endpoint, Fault(kind="eof", after_tokens=2))
    assert (reply.is_whole, len(reply.events)) == (False, 2)


async def test_a_stalled_stream_stays_open_in_silence(endpoint: Endpoint) -> None:
    endpoint.faults.add(Fault(kind="stall", after_tokens=1))
    client = await connect(endpoint)
    client.send("POST", "/v1/chat/completions", {"model": "llama3", "messages": HELLO, "stream": True})
    await client.reader.readuntil(b"\n\n")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.reader.readuntil(b"[DONE]"), 0.1)
    assert not client.reader.at_eof()
    await client.close()


@pytest.mark.parametrize("body", ["invalid_json", "wrong_type", "html", "empty", "array"])
async def test_garbage_is_a_200_with_no_answer_in_it(endpoint: Endpoint, body: str) -> None:
    reply = await broken_chat(endpoint, Fault(kind="garbage", body=body))  # type: ignore[arg-type]
    assert reply.status == 200
    assert b"finish_reason" not in reply.body


async def test_a_redirect_leads_elsewhere(endpoint: Endpoint) -> None:
    reply = await broken_chat(endpoint, Fault(kind="redirect", location="http://127.0.0.1:9/x"))
    assert (reply.status, reply.headers["location"]) == (302, "http://127.0.0.1:9/x")


async def test_a_cookie_comes_with_a_healthy_answer(endpoint: Endpoint) -> None:
    reply = await broken_chat(endpoint, Fault(kind="cookie"))
    assert "simulated" in reply.headers["set-cookie"]
    assert reply.events[-1] == "[DONE]"


async def test_a_split_answer_is_the_same_in_small_pieces(endpoint: Endpoint) -> None:
    whole = await chat(endpoint, stream=True, max_tokens=2)
    split = await broken_chat(endpoint, Fault(kind="split", piece_bytes=3))
    assert [event["choices"][0]["delta"] for event in split.events[:2]] == [
        event["choices"][0]["delta"] for event in whole.events[:2]
    ]
    client = await connect(endpoint)
    client.send("POST", "/v1/chat/completions", {"model": "llama3", "messages": HELLO, "stream": True})
    await client.reader.readuntil(b"\r\n\r\n")
    assert await client.reader.readuntil(b"\r\n") == b"3\r\n"
    await client.close()


async def test_slow_stretches_an_answer() -> None:
    settings = Settings(models=("llama3",), tokens_per_second=1000, load_seconds=0, prefill_tokens_per_second=0)
    async with Simulator(settings) as simulator:
        loop, endpoint = asyncio.get_running_loop(), simulator.endpoints[0]
        endpoint.faults.add(Fault(kind="slow", factor=50))
        started_at = loop.time()
        await chat(endpoint, stream=True, max_tokens=4)
        assert loop.time() - started_at >= 0.19


async def test_a_fault_is_limited_by_count_model_and_path(endpoint: Endpoint) -> None:
    endpoint.faults.add(Fault(kind="busy", count=1, model="mistral:7b", path="/v1/chat/completions"))
    statuses = [(await chat(endpoint, model=model)).status for model in ("llama3", "mistral:7b", "mistral:7b")]
    assert statuses == [200, 503, 200]


def test_a_route_group_leaves_the_others_in_peace() -> None:
    faults = Faults(lambda: 0.0)
    faults.add(Fault(kind="busy", routes="state"))
    assert faults.take("/api/ps", "")
    assert not faults.take("/v1/chat/completions", "llama3")


def test_a_fault_without_a_tag_applies_to_latest() -> None:
    assert Fault(kind="busy", model="llama3").meets("/api/chat", "llama3:latest")
    assert not Fault(kind="busy", model="llama3").meets("/api/chat", "llama3:8b")


async def test_faults_are_controlled_over_http(endpoint: Endpoint) -> None:
    made = await ask(endpoint, "POST", "/simulator/faults", {"kind": "status", "status": 418})
    assert (made.status, len(made.json["ids"])) == (201, 1)
    assert (await chat(endpoint)).status == 418
    listed = (await ask(endpoint, "GET", "/simulator/faults")).json["faults"]
    assert listed[0]["fault"] == {"kind": "status", "status": 418}
    assert (await ask(endpoint, "DELETE", f"/simulator/faults/{made.json['ids'][0]}")).status == 200
    assert (await chat(endpoint)).status == 200
    wrong = await ask(endpoint, "POST", "/simulator/faults", {"kind": "earthquake"})
    assert wrong.status == 400
    assert "earthquake" in wrong.json["error"]


async def test_the_state_shows_what_went_upstream(endpoint: Endpoint) -> None:
    await chat(endpoint)
    state = (await ask(endpoint, "GET", "/simulator/state")).json
    assert (state["requests"], state["by_path"]) == (1, {"/v1/chat/completions": 1})
    (seen,) = state["last"]
    assert json.loads(seen["body"])["model"] == "llama3"
    assert ["host", endpoint.address] in seen["headers"]


async def test_the_control_server_reaches_what_refuses() -> None:
    async with Simulator(FAST, count=2, control=("127.0.0.1", 0)) as simulator:
        host, _, port = str(simulator.control_address).rpartition(":")

        async def control(method: str, path: str, body: object = None) -> Reply:
            reader, writer = await asyncio.open_connection(host, int(port))
            data = b"" if body is None else json.dumps(body).encode()
            writer.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            body_bytes = await reader.readexactly(length)
            writer.close()
            return Reply(int(head.split()[1]), {}, body_bytes, True)

        await control("POST", "/endpoints/1/faults", {"kind": "refuse"})
        assert [row["is_open"] for row in (await control("GET", "/endpoints")).json["endpoints"]] == [True, False]
        await control("DELETE", "/endpoints/1/faults")
        assert simulator.endpoints[1].is_open
        await control("POST", "/endpoints/0/kill")
        assert not simulator.endpoints[0].is_open
        await control("POST", "/endpoints/0/restart")
        assert (await ask(simulator.endpoints[0], "GET", "/api/version")).status == 200
        assert (await control("GET", "/endpoints/2/state")).status == 404
