"""The audit of a whole gateway: one terminal entry for each request, whatever its end, and none too few in any mode."""

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.flow.kubernetes_api import NAMESPACE
from tests.flow.line import Reply
from tests.flow.upstream import DONE, END, SSE_HEAD, Visit, answer_well, event, framed
from tests.flow.waiting import soon, until
from tests.flow.world import CHAT, Served, World, chat, config

from ai_gateway.audit.chain import verify
from ai_gateway.audit.entry import AuditEntry
from ai_gateway.audit.key import read_key
from ai_gateway.audit.sqlite_archive import SqliteArchive
from ai_gateway.audit.store import StoreUnavailable

OPEN = {"allow_unauthenticated_reads": True}


def path_of(world: World) -> Path:
    """Where a gateway of this world keeps its audit."""
    return world.folder / "state" / "ai-gateway-ollama" / "audit.db"


def entries(world: World, kind: str = "end") -> list[AuditEntry]:
    """All that was written, in order; the chain must be whole."""
    archive = SqliteArchive(path_of(world))
    try:
        archive.open()
    except StoreUnavailable:  # it is still being made
        return []
    try:
        chain = [(entry, digest) for entry, digest in archive.chain() if isinstance(entry, AuditEntry)]
        assert list(verify(chain, archive.checkpoints(), read_key(path_of(world).with_name("audit.db.key")))) == []
        return [entry for entry, _ in chain if isinstance(entry, AuditEntry) and entry.kind == kind]
    finally:
        archive.close()


async def written(world: World, count: int) -> list[AuditEntry]:
    """The entries, once there are so many."""
    await until(lambda: len(entries(world)) >= count, f"{count} entries")
    found = entries(world)
    assert len(found) == count, [entry.request_id for entry in found]
    return found


class Ends:
    """An endpoint whose answer ends as the call's prompt says."""

    async def act(self, visit: Visit) -> None:
        """Well, broken off, or not at all."""
        word = visit.fields["messages"][0]["content"]
        if word == "well" and not visit.fields.get("stream"):
            await answer_well(visit)
            return
        await visit.say(SSE_HEAD, framed(event("one")))
        if word == "well":
            usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
            await visit.say(framed(event("", "stop")), framed(event("", choices=[], usage=usage)), framed(DONE), END)
        elif word == "break":
            visit.reset()
        else:
            await visit.gone()


def named(request_id: str) -> dict[str, str]:
    """The header that names a request."""
    return {"x-request-id": request_id, "user-agent": "tester/1"}


async def every_end(world: World, **audit: Any) -> dict[str, AuditEntry]:
    """Requests with every kind of end, the last one by the gateway's own; their entries by request id."""
    upstream = await world.upstream(Ends().act)
    served = await world.gateway([upstream.url], audit=audit)
    asks: list[tuple[str, str, str, bytes | None]] = [
        ("whole", "POST", CHAT, chat("well")),
        ("stream", "POST", CHAT, chat("well", stream=True)),
        ("unknown-model", "POST", CHAT, chat("well", model="nobody")),
        ("bad-body", "POST", CHAT, b"{"),
        ("nowhere", "GET", "/v1/nowhere", None),
        ("wrong-method", "DELETE", CHAT, None),
        ("models", "GET", "/v1/models", None),
        ("denied", "GET", "/v1/audit/logs", None),
        ("broken", "POST", CHAT, chat("break", stream=True)),
    ]
    for request_id, method, path, body in asks:
        await served.ask(method, path, body, named(request_id))
    line = await served.begin(chat("hang", stream=True), headers=named("left"))
    await line.head()
    await line.event()
    line.vanish()
    await until(lambda: served.is_idle, "the client has left")
    line = await served.begin(chat("hang", stream=True), headers=named("shutdown"))
    await line.head()
    await line.event()
    served.shutdown.request()
    await soon(line.rest())
    found = await written(world, len(asks) + 2)
    assert max(Counter(entry.request_id for entry in found).values()) == 1
    return {entry.request_id: entry for entry in found}


@pytest.mark.parametrize("mode", ["best_effort", "blocking", "strict"])
async def test_every_request_has_one_terminal_entry_whatever_its_end(world: World, mode: str) -> None:
    found = await every_end(world, mode=mode)
    recorded = {request_id: (entry.outcome, entry.status, entry.error_code) for request_id, entry in found.items()}
    assert recorded == {
        "whole": ("ok", 200, None),
        "stream": ("ok", 200, None),
        "unknown-model": ("refused", 404, "model_not_found"),
        "bad-body": ("refused", 400, "invalid_json"),
        "nowhere": ("refused", 404, "not_found"),
        "wrong-method": ("refused", 405, "method_not_allowed"),
        "models": ("ok", 200, None),
        "denied": ("denied", 403, "not_allowed"),
        "broken": ("upstream_broke", 502, "upstream_disconnected"),
        "left": ("client_left", 200, None),
        "shutdown": ("shed", 503, "server_shutdown"),
    }
    intents = [entry.request_id for entry in entries(world, "intent")]
    sent = ["whole", "stream", "broken", "left", "shutdown"]
    assert intents == (sent if mode == "strict" else [])


async def test_an_entry_tells_who_asked_what_of_whom(world: World) -> None:
    entry = (await every_end(world))["stream"]
    assert (entry.actor, entry.auth_method, entry.client_address) == ("anonymous", "none", "127.0.0.1")
    assert (entry.method, entry.route, entry.user_agent, entry.stream) == ("POST", CHAT, "tester/1", True)
    assert (entry.model_asked, entry.model_served) == ("llama3", "llama3:latest")
    assert (entry.tokens_in, entry.tokens_out, entry.attempts) == (3, 2, 1)
    assert (entry.endpoint or "").startswith("127.0.0.1:")
    assert entry.bytes_in == len(chat("well", stream=True))
    assert entry.bytes_out > 0
    assert entry.total_ms is not None
    assert entry.first_byte_ms is not None
    assert 0 <= entry.first_byte_ms <= entry.total_ms
    assert entry.started_ns < entry.at_ns
    assert (entry.request_content, entry.answer_content, entry.prompt_hash) == (None, None, None)


async def test_requests_to_the_admin_port_are_none_to_the_api(world: World) -> None:
    served = await world.gateway([(await world.simulator()).urls[0]])
    for path in ("/livez", "/readyz", "/metrics"):
        await served.probe(path)
    await served.ask("GET", "/", headers=named("last"))
    assert [entry.request_id for entry in await written(world, 1)] == ["last"]


async def test_the_clients_history_the_endpoints_and_the_audit_agree(world: World) -> None:
    """Many calls at once, of which some leave in the middle."""
    simulator = await world.simulator(tokens_per_second=400.0)
    served = await world.gateway(simulator.urls, balancing={"slots": 4})

    async def call(number: int) -> None:
        line = await served.begin(chat(f"{number}", stream=True, max_tokens=8), headers=named(f"c{number}"))
        await line.head()
        if number % 3:
            await line.rest()
        else:
            await line.event()
            line.vanish()

    await asyncio.gather(*(call(number) for number in range(60)))
    found = await written(world, 60)
    assert {entry.request_id for entry in found} == {f"c{number}" for number in range(60)}
    assert all(entry.attempts <= 2 for entry in found)
    assert sum(entry.attempts for entry in found) == simulator.endpoints[0].ledger.by_path[CHAT]
    by_outcome = Counter(entry.outcome for entry in found)
    assert by_outcome["client_left"] + by_outcome["ok"] == 60
    assert by_outcome["ok"] >= 40


class Locked:
    """Somebody who has the database's write lock."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("BEGIN IMMEDIATE")

    def release(self) -> None:
        """Gives it up."""
        self._connection.close()


async def test_blocking_holds_the_last_byte_until_the_entry_is_durable(world: World) -> None:
    served = await world.gateway([(await world.simulator()).urls[0]], audit={"mode": "blocking"})
    locked = Locked(path_of(world))
    whole, stream = await served.begin(chat("a")), await served.begin(chat("b", stream=True))
    await stream.head()
    while await stream.event() != "data: [DONE]":
        pass
    ends = [asyncio.create_task(whole.reply()), asyncio.create_task(stream.rest())]
    done, _ = await asyncio.wait(ends, timeout=0.3)
    assert not done, "the last byte came before the entry was durable"
    assert entries(world) == []
    locked.release()
    await asyncio.gather(*ends)
    assert len(entries(world)) == 2  # without waiting


async def test_best_effort_waits_for_nothing(world: World) -> None:
    served = await world.gateway([(await world.simulator()).urls[0]])
    locked = Locked(path_of(world))
    assert (await served.chat()).status == 200
    assert entries(world) == []
    locked.release()
    await written(world, 1)


@pytest.mark.parametrize("mode", ["blocking", "strict"])
async def test_what_cannot_be_audited_is_not_sent(world: World, mode: str) -> None:
    """503 with a code of its own, nothing dispatched, and not ready; it recovers by itself."""
    path = path_of(world)
    path.parent.parent.mkdir()
    path.parent.write_text("a file where the folder should be")
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls, is_ready=False, audit={"mode": mode})
    await served.readiness(503)
    await until(lambda: served.gateway.fleet.endpoints and not served.gateway.readiness.is_starting, "polled")
    reply = await served.chat()
    assert (reply.status, reply.json["error"]["code"]) == (503, "audit_unavailable")
    assert reply.json["error"]["type"] == "backend_unavailable"
    assert simulator.endpoints[0].ledger.by_path[CHAT] == 0
    assert "audit" in (await served.probe("/readyz")).json["reason"]
    path.parent.unlink()
    await served.readiness()
    assert (await served.chat()).status == 200
    assert [entry.error_code for entry in await written(world, 2)] == ["audit_unavailable", None]


async def test_best_effort_serves_without_a_place_for_its_audit(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A homeless user, a read-only file system: the log says so, loudly, once."""
    world.folder.joinpath("state").write_text("no folder")
    served = await world.gateway((await world.simulator()).urls)
    for _ in range(3):
        assert (await served.chat()).status == 200
    await until(lambda: "the audit cannot be written" in caplog.text, "the log says so")
    assert caplog.text.count("the audit cannot be written") == 1
    assert "ai_gateway_audit_failing 1.0" in (await served.probe("/metrics")).body.decode()


async def test_the_audit_can_be_off(world: World) -> None:
    served = await world.gateway((await world.simulator()).urls, audit={"store": "none", **OPEN})
    await served.chat()
    reply = await served.ask("GET", "/v1/audit/logs")
    assert (reply.status, reply.json["error"]["code"]) == (404, "audit_off")
    assert "off" in reply.json["error"]["message"]
    assert not path_of(world).parent.exists()


@pytest.mark.parametrize(("level", "has_answer"), [("request", False), ("full", True)])
async def test_prompts_and_answers_are_kept_only_where_a_level_asks_and_redacted(
    world: World, level: str, has_answer: bool
) -> None:
    more = {"level": level, "hash_prompts": True, "redact": ["Project [A-Z]+"]}
    served = await world.gateway((await world.simulator()).urls, audit=more)
    for stream in (False, True):
        await served.chat("Project MOON, write to\njo@example.com", stream=stream)
    for entry in await written(world, 2):
        asked = json.loads(entry.request_content or "")
        assert asked[0]["parts"][0]["content"] == "[redacted], write to\n[email]"
        assert (entry.answer_content is not None) == has_answer
        assert entry.prompt_hash is not None
    first, second = entries(world)
    assert first.prompt_hash == second.prompt_hash


async def test_what_the_size_would_halve_is_redacted_whole(world: World) -> None:
    served = await world.gateway((await world.simulator()).urls, audit={"level": "request", "max_content": 100})
    await served.chat(f"https://me:{'pass' * 40}@example.com")
    (entry,) = await written(world, 1)
    assert "[password]" in (entry.request_content or "")
    assert "pass" not in (entry.request_content or "").replace("[password]", "")


async def reading(world: World, **audit: Any) -> Served:
    """A gateway whose audit anyone may read, after a few requests."""
    served = await world.gateway((await world.simulator()).urls, audit={**OPEN, **audit})
    for number in range(5):
        await served.ask("POST", CHAT, chat(model="llama3" if number % 2 else "coder"), named(f"r{number}"))
    await served.ask("POST", CHAT, chat(model="nobody"), named("bad"))
    await written(world, 6)
    return served


def ids(reply: Reply) -> list[str]:
    """Whose entries an answer holds."""
    return [entry["request_id"] for entry in reply.json["data"]]


async def test_the_logs_are_read_newest_first_and_by_filter(world: World) -> None:
    served = await reading(world)
    ask: Callable[[str], Any] = lambda query: served.ask("GET", f"/v1/audit/logs?{query}", None, named("look"))  # noqa: E731
    assert ids(await ask("status=404")) == ["bad"]
    assert ids(await ask("model=llama3")) == ["r3", "r1"]
    assert ids(await ask("model=coder&outcome=ok&status=200")) == ["r4", "r2", "r0"]
    assert ids(await ask("actor=anonymous&outcome=refused")) == ["bad"]
    assert ids(await ask("request_id=r2")) == ["r2"]
    assert ids(await ask("tenant=team-a")) == ids(await ask("until=2020-01-01")) == []
    moment = (await ask("request_id=r3")).json["data"][0]["time"]
    assert ids(await ask(f"since={moment}&model=llama3")) == ["r3"]
    assert ids(await ask(f"until={moment}&model=llama3")) == ["r1"]


async def test_the_cursor_leads_through_all_of_them_while_more_come(world: World) -> None:
    served = await reading(world)
    cursor, found = "", []
    while True:
        reply = await served.ask("GET", f"/v1/audit/logs?limit=2{cursor}", None, named("look"))
        found += ids(reply)
        if reply.json["next_cursor"] is None:
            break
        cursor = f"&cursor={reply.json['next_cursor']}"
    assert [name for name in found if name != "look"] == ["bad", "r4", "r3", "r2", "r1", "r0"]


async def test_a_page_of_large_prompts_ends_early_and_goes_on(world: World) -> None:
    more = {**OPEN, "level": "request", "max_content": 1 << 20}
    served = await world.gateway((await world.simulator()).urls, audit=more)
    for _ in range(6):
        await served.chat("word " * 180_000)
    await written(world, 6)
    first = await served.ask("GET", "/v1/audit/logs?model=llama3&limit=1000")
    rest = await served.ask("GET", f"/v1/audit/logs?model=llama3&limit=1000&cursor={first.json['next_cursor']}")
    assert [len(ids(first)), len(ids(rest)), rest.json["next_cursor"]] == [4, 2, None]


async def test_reads_are_audited(world: World) -> None:
    served = await reading(world)
    await served.ask("GET", "/v1/audit/logs?actor=somebody", None, named("reader"))
    entry = (await written(world, 7))[-1]
    assert (entry.request_id, entry.route, entry.outcome) == ("reader", "/v1/audit/logs", "ok")
    assert entry.reason == "read: actor=somebody"


async def test_the_logs_come_as_ndjson_and_csv_too(world: World) -> None:
    served = await reading(world)
    lines = await served.ask("GET", "/v1/audit/logs?model=coder&limit=2", None, {"accept": "application/x-ndjson"})
    assert lines.header("content-type") == "application/x-ndjson; charset=utf-8"
    assert [json.loads(line)["request_id"] for line in lines.body.splitlines()] == ["r4", "r2"]
    cursor = lines.header("x-next-cursor")
    path = f"/v1/audit/logs?model=coder&limit=2&cursor={cursor}"
    table = await served.ask("GET", path, None, {"accept": "text/csv;q=0.9, application/json;q=0.1"})
    head, row = table.body.decode().splitlines()
    assert head.startswith("time,writer,sequence,kind,at_ns,")
    assert ",r0," in row


@pytest.mark.parametrize(
    ("query", "param"),
    [
        *(("limit=0", "limit"), ("limit=1001", "limit"), ("limit=x", "limit"), ("status=20", "status")),
        *(("outcome=good", "outcome"), ("since=yesterday", "since"), ("until=-1", "until"), ("cursor=abc", "cursor")),
        *(("cursor=e30", "cursor"), ("color=red", "color"), ("actor=", "actor"), ("actor=a&actor=b", None)),
        *(("since=99999999999999", "since"), ("actor=%ff", None), ("status=%D9%A3%D9%A3%D9%A3", "status")),
    ],
)
async def test_nonsense_is_refused_with_its_filter(world: World, query: str, param: str | None) -> None:
    served = await world.gateway((await world.simulator()).urls, audit=OPEN)
    reply = await served.ask("GET", f"/v1/audit/logs?{query}")
    assert reply.status == 400, reply.body
    assert reply.json["error"]["param"] == param


async def test_without_authentication_the_audit_is_closed_unless_the_config_opens_it(world: World) -> None:
    served = await world.gateway((await world.simulator()).urls)
    reply = await served.ask("GET", "/v1/audit/logs")
    assert (reply.status, reply.json["error"]["code"]) == (403, "not_allowed")
    assert "allow_unauthenticated_reads" in reply.json["error"]["message"]


async def test_with_other_gateways_the_answer_says_whose_it_is(world: World) -> None:
    """Each has a file of its own; they are counted by the Service that the environment names."""
    api = await world.api_server()
    world.environment = {**world.environment, "AI_GATEWAY_SERVICE": f"{NAMESPACE}/gateway"}
    content = yaml.safe_dump(config((await world.simulator()).urls, audit=OPEN))
    served = await world.gateway_with(content, access=api.access(world.folder))
    await served.chat()
    await written(world, 1)
    assert "complete" not in (await served.ask("GET", "/v1/audit/logs")).json
    endpoints = [{"addresses": [f"10.0.0.{number}"], "targetRef": {"uid": f"uid-{number}"}} for number in range(2)]
    labels = {"kubernetes.io/service-name": "gateway"}
    sliced = {"metadata": {"name": "gateway-x", "labels": labels}, "addressType": "IPv4", "endpoints": endpoints}
    api.put("endpointslices", sliced)
    await until(lambda: served.gateway.gateways.ready() == 2, "both gateways counted")
    reply = await served.ask("GET", "/v1/audit/logs")
    assert reply.json["complete"] is False
    assert reply.json["writer"] == reply.json["data"][-1]["writer"]


async def test_a_days_budget_goes_on_where_it_was_before_a_restart(world: World) -> None:
    """Rebuilt from the audit: of the caller, its tenant and the model, an alias included."""
    simulator = await world.simulator()
    limits = {"default": {"tokens_per_day": 1000}, "models": {"coder": {"tokens_per_day": 1000}}}
    content = yaml.safe_dump(config(simulator.urls, audit=OPEN, limits=limits))
    before = await world.gateway_with(content)
    used = (await before.chat(model="code", max_tokens=5)).json["usage"]["total_tokens"]
    await written(world, 1)
    after = await world.gateway_with(content)
    reply = await after.chat(model="llama3", max_tokens=1)
    left = int(str(reply.header("x-ratelimit-remaining-tokens")))
    assert 1000 - used - 50 < left < 1000 - used
    reply = await after.chat(model="coder", max_tokens=1)
    assert reply.header("x-ratelimit-limit-tokens") == "1000"
    assert int(str(reply.header("x-ratelimit-remaining-tokens"))) < left


async def test_a_read_that_takes_long_holds_up_no_request(world: World) -> None:
    """The database is asked in a thread of its own."""
    served = await reading(world)
    connection = sqlite3.connect(path_of(world), isolation_level=None)
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.close()
    reads = [asyncio.create_task(served.ask("GET", "/v1/audit/logs?limit=1000")) for _ in range(20)]
    assert (await served.chat()).status == 200
    assert {reply.status for reply in await asyncio.gather(*reads)} == {200}


async def test_a_change_of_the_audit_waits_for_a_restart(world: World) -> None:
    urls = (await world.simulator()).urls
    served = await world.gateway(urls)
    await served.reload(config(urls, audit={"store": "none"}))
    assert (await served.get("/v1/health"))["config"]["restart_required"] == ["audit"]
    await written(world, 1)


async def test_the_entry_of_a_request_for_a_model_names_it(world: World) -> None:
    """Also for a missing model, or one that the caller may not use."""
    served = await world.gateway((await world.simulator()).urls)
    for model in ("llama3", "nobody"):
        await served.ask("GET", f"/v1/models/{model}")
    found = await written(world, 2)
    assert [(one.model_asked, one.status) for one in found] == [("llama3", 200), ("nobody", 404)]
