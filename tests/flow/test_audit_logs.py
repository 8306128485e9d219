"""GET /v1/audit/logs: filters, the cursor, forms, and who may read."""

import asyncio
import json
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from tests.flow.line import Reply
from tests.flow.test_audit import OPEN, named, path_of, written
from tests.flow.waiting import soon
from tests.flow.world import CHAT, Served, World, chat


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


async def test_with_authentication_off_nobody_reads_unless_the_config_says_so(world: World) -> None:
    served = await world.gateway((await world.simulator()).urls)
    reply = await served.ask("GET", "/v1/audit/logs")
    assert (reply.status, reply.json["error"]["code"]) == (403, "not_allowed")
    assert "allow_unauthenticated_reads" in reply.json["error"]["message"]


async def test_with_other_gateways_the_answer_says_whose_it_is(world: World) -> None:
    """Each has a file of its own."""
    served = await reading(world)
    assert "complete" not in (await served.ask("GET", "/v1/audit/logs")).json
    served.gateway.peers = lambda: 2
    reply = await served.ask("GET", "/v1/audit/logs")
    assert reply.json["complete"] is False
    assert reply.json["writer"] == reply.json["data"][0]["writer"]


async def test_a_read_that_takes_long_holds_up_no_request(world: World) -> None:
    """The database is asked in a thread of its own."""
    served = await reading(world)
    connection = sqlite3.connect(path_of(world), isolation_level=None)
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.close()
    reads = [asyncio.create_task(served.ask("GET", "/v1/audit/logs?limit=1000")) for _ in range(20)]
    assert (await soon(served.chat(), 1.0)).status == 200
    assert {reply.status for reply in await asyncio.gather(*reads)} == {200}
