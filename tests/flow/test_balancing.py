"""Where calls go, how many at a time, and what becomes of those whose endpoint fails."""

import asyncio
from collections import Counter
from functools import partial
from typing import Any

import pytest
from tests.flow.line import error_in
from tests.flow.upstream import Upstream, Visit, answer_well, whole
from tests.flow.waiting import soon, until
from tests.flow.world import Served, World, chat

from ai_gateway.balancing.pod import Pod
from ai_gateway.simulator.faults import Fault

ONE = chat(max_tokens=1)
SPREAD = {"policy": "least_in_flight"}  # so that the busiest endpoint is asked last


class Gate:
    """Answers calls once it is opened, and remembers whose turn it was."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()

    async def act(self, visit: Visit) -> None:
        """Waits, then answers well."""
        await self.opened.wait()
        await answer_well(visit)


def texts(upstream: Upstream) -> list[str]:
    """What the calls said that came in, in order."""
    return [visit.fields["messages"][0]["content"] for visit in upstream.visits]


def are_in(served: Served, count: int) -> bool:
    """Whether so many calls run or wait."""
    return served.in_flight + served.waiting == count


async def test_a_call_goes_where_its_model_is(world: World) -> None:
    """Endpoints without the model are never asked."""
    with_it, without = await world.upstream(answer_well), await world.upstream(answer_well, models=("other:1b",))
    served = await world.gateway([without.url, with_it.url])
    for _ in range(5):
        assert (await served.chat()).status == 200
    assert (len(with_it.visits), len(without.visits)) == (5, 0)


async def test_a_model_pulled_later_is_found(world: World) -> None:
    """model_missing until an endpoint lists it."""
    upstream = await world.upstream(answer_well, models=())
    served = await world.gateway([upstream.url])
    assert (await served.chat()).error["code"] == "model_missing"
    upstream.models = ("llama3:latest",)
    await until(lambda: served.endpoint(upstream.address).holds("llama3:latest"))
    assert (await served.chat()).status == 200


async def test_an_endpoint_with_the_model_loaded_is_preferred(world: World) -> None:
    """One call after the other goes to the same, warm endpoint."""
    simulator = await world.simulator(count=3)
    served = await world.gateway(simulator.urls, balancing={"slots": 4})
    assert (await served.chat(max_tokens=1)).status == 200
    used = (await served.recorded()).attempts[0].endpoint
    await until(lambda: served.endpoint(used).is_resident("llama3:latest"))
    for _ in range(6):
        assert (await served.chat(max_tokens=1)).status == 200
    assert {exchange.attempts[0].endpoint for exchange in served.exchanges if exchange.attempts} == {used}
    assert served.last.attempts[0].is_warm


async def test_equals_share_the_calls(world: World) -> None:
    """Among equals the one with fewest in flight: N calls at once that continue no conversation spread evenly."""
    gate = Gate()
    upstreams = [await world.upstream(gate.act, models=("nomic-embed-text:latest",)) for _ in range(3)]
    served = await world.gateway([upstream.url for upstream in upstreams], balancing={"slots": 4})
    for _ in range(6):
        await served.begin(b'{"model":"embed","input":"hi"}', "/v1/embeddings")
    await until(lambda: served.in_flight == 6)
    await until(lambda: [len(upstream.visits) for upstream in upstreams] == [2, 2, 2])
    gate.opened.set()
    await until(lambda: served.is_idle)


async def test_an_endpoint_gets_no_more_than_its_slots(world: World) -> None:
    """The rest waits in order, and is served in order."""
    gate = Gate()
    upstream = await world.upstream(gate.act)
    served = await world.gateway([upstream.url], balancing={"slots": 2})
    for number in range(6):
        await served.begin(chat(str(number)))
        await until(partial(are_in, served, number + 1))
    assert (served.in_flight, served.waiting, len(upstream.visits)) == (2, 4, 2)
    health = await served.get("/v1/health")
    assert (health["models"]["llama3"]["in_flight"], health["models"]["llama3"]["waiting"]) == (2, 4)
    gate.opened.set()
    await until(lambda: served.is_idle)
    assert texts(upstream)[2:] == ["2", "3", "4", "5"]


async def test_slots_count_per_model(world: World) -> None:
    """A model that is busy does not hold up another one."""
    gate = Gate()
    upstream = await world.upstream(gate.act, models=("llama3:latest", "codellama:13b"))
    served = await world.gateway([upstream.url])
    await served.begin(chat())
    await served.begin(chat(model="coder"))
    await until(lambda: len(upstream.visits) == 2)
    gate.opened.set()


async def test_a_full_queue_refuses(world: World) -> None:
    """503 queue_full with when to come back; who waits already is served."""
    gate = Gate()
    upstream = await world.upstream(gate.act)
    served = await world.gateway([upstream.url], queue={"max_waiting": 1})
    first = await served.begin(ONE)
    await until(lambda: served.in_flight == 1)
    second = await served.begin(ONE)
    await until(lambda: served.waiting == 1)
    for stream in (True, False):
        reply = await served.chat(stream=stream)
        assert (reply.status, reply.error["code"], reply.error["type"]) == (503, "queue_full", "backend_unavailable")
        assert reply.header("retry-after") == "2"
        assert reply.header("retry-after-ms") == "2000"
    gate.opened.set()
    assert [(await line.reply()).status for line in (first, second)] == [200, 200]


async def fail_as(kind: str, visit: Visit) -> None:
    """One of the failures before the first byte after which another endpoint may succeed."""
    match kind:
        case "reset":
            visit.reset()
        case "hang_up":
            visit.hang_up()
        case "busy":
            await visit.say(whole(b'{"error":"server busy, please try again."}', "503 Service Unavailable"))
        case "500":
            await visit.say(whole(b'{"error":"llama-server process has terminated"}', "500 Internal Server Error"))
        case "404":
            await visit.say(whole(b'{"error":"model not found"}', "404 Not Found"))
        case "garbage":
            await visit.say(b"\x16\x03\x01\x00\r\n\r\n")
            visit.hang_up()


async def fails_once(world: World, kind: str) -> tuple[Upstream, Upstream]:
    """Two endpoints. The first call that either gets fails."""

    async def act(visit: Visit) -> None:
        if len(first.visits) + len(second.visits) == 1:
            await fail_as(kind, visit)
        else:
            await answer_well(visit)

    first, second = await world.upstream(act), await world.upstream(act)
    return first, second


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", ["reset", "hang_up", "busy", "500", "404", "garbage"])
async def test_a_failure_before_the_first_byte_is_retried_elsewhere(world: World, kind: str, stream: bool) -> None:
    """Once, on another endpoint; the client sees the answer alone."""

    first, second = await fails_once(world, kind)
    served = await world.gateway([first.url, second.url])
    reply = await served.chat(stream=stream)
    assert reply.status == 200
    assert (len(first.visits), len(second.visits)) == (1, 1)
    assert first.visits[0].body == second.visits[0].body
    record = await served.recorded()
    assert [attempt.failure is None for attempt in record.attempts] == [False, True]
    assert record.attempts[0].endpoint != record.attempts[1].endpoint


@pytest.mark.parametrize(("kind", "status"), [("reset", 502), ("busy", 503), ("500", 502), ("404", 503)])
async def test_a_call_is_sent_twice_at_most(world: World, kind: str, status: int) -> None:
    """Never twice on the same endpoint, never a third time."""

    async def act(visit: Visit) -> None:
        await fail_as(kind, visit)

    upstreams = [await world.upstream(act) for _ in range(3)]
    served = await world.gateway([upstream.url for upstream in upstreams], polling={"models_interval": "60s"})
    reply = await served.chat()
    assert reply.status == status
    assert sorted(len(upstream.visits) for upstream in upstreams) == [0, 1, 1]
    assert (reply.header("x-should-retry") == "false") == (kind == "500")


async def test_a_kept_connection_that_was_closed_is_no_error(world: World) -> None:
    """An endpoint that closes idle connections, or restarts: the next call makes a new one."""

    async def act(visit: Visit) -> None:
        await answer_well(visit)
        visit.hang_up()

    upstream = await world.upstream(act)
    served = await world.gateway([upstream.url])
    for _ in range(10):
        assert (await served.chat()).status == 200


async def test_a_kept_connection_that_is_cut_at_use_is_tried_again(world: World) -> None:
    """The one endpoint reset a connection that had carried an answer before: the call is sent once more there."""

    async def act(visit: Visit) -> None:
        if len(upstream.visits) == 2:
            visit.reset()
        else:
            await answer_well(visit)

    upstream = await world.upstream(act)
    served = await world.gateway([upstream.url], polling={"interval": "60s", "models_interval": "60s"})
    for _ in range(3):
        assert (await served.chat()).status == 200
    assert len(upstream.visits) == 4


async def test_retries_are_a_share_of_the_calls(world: World) -> None:
    """Ten calls fail at once; three may be retried at a time, the others get the error."""
    fail, hold = asyncio.Event(), asyncio.Event()

    async def break_off(visit: Visit) -> None:
        await fail.wait()
        await fail_as("500", visit)

    async def act(visit: Visit) -> None:
        await hold.wait()
        await answer_well(visit)

    first, second = await world.upstream(break_off), await world.upstream(act, models=())
    served = await world.gateway([first.url, second.url], balancing={"slots": 10})
    lines = [await served.begin(ONE) for _ in range(10)]
    await until(lambda: len(first.visits) == 10)
    second.models = ("llama3:latest",)
    await until(lambda: served.endpoint(second.address).holds("llama3:latest"))
    fail.set()
    await until(lambda: len(served.exchanges) == 7 and len(second.visits) == 3)
    hold.set()
    statuses = Counter([(await line.reply()).status for line in lines])
    assert statuses == {200: 3, 502: 7}
    assert len(second.visits) == 3


async def test_a_killed_endpoint_loses_no_call_that_has_not_begun(world: World) -> None:
    """N calls in flight there are all sent again, outside the budget."""
    held = Gate()
    killed, other = await world.upstream(held.act), await world.upstream(held.act)
    served = await world.gateway([killed.url, other.url], balancing=SPREAD | {"slots": 12, "retry_budget": 0.0})
    lines = [await served.begin(chat(str(number))) for number in range(20)]
    await until(lambda: all(len(endpoint.visits) == 10 for endpoint in (killed, other)))
    await killed.stop()
    held.opened.set()
    assert [(await line.reply()).status for line in lines] == [200] * 20
    records = [exchange for exchange in served.exchanges if len(exchange.attempts) == 2]
    assert len(records) == 10


class Shrinking:
    """A fleet that goes down to one at the second call. The first one is held by the endpoint that stays."""

    def __init__(self) -> None:
        self.held = Gate()
        self.upstreams: list[Upstream] = []

    async def act(self, visit: Visit) -> None:
        """The second call is cut; by then nobody else takes connections."""
        if self.calls == 1:
            await self.held.act(visit)
        elif self.calls == 2:
            for upstream in self.upstreams:
                if not upstream.visits:
                    await upstream.stop()
                elif visit in upstream.visits:
                    upstream.refuse()
            visit.reset()
        else:
            await answer_well(visit)

    @property
    def calls(self) -> int:
        """How many came in, anywhere."""
        return sum(len(upstream.visits) for upstream in self.upstreams)

    async def gateway(self, world: World, dead: int, slots: int) -> Served:
        """Nobody but the calls notices anything: probes come too late. `dead` are those that will refuse."""
        self.upstreams += [await world.upstream(self.act) for _ in range(dead + 2)]
        return await world.gateway(
            [upstream.url for upstream in self.upstreams],
            polling={"interval": "60s", "models_interval": "60s"},
            balancing=SPREAD | {"slots": slots, "retry_budget": 0.0},
        )


@pytest.mark.parametrize(("dead", "status", "attempts"), [(2, 200, 4), (6, 503, 5)])
async def test_a_retry_that_is_refused_goes_on_to_the_next_endpoint(
    world: World, dead: int, status: int, attempts: int
) -> None:
    """Nothing was sent to who refuses, so no endpoint gets the call a third time. It ends somewhere."""
    fleet = Shrinking()
    served = await fleet.gateway(world, dead, slots=9)
    line = await served.begin(ONE)
    await until(lambda: fleet.calls == 1)  # the endpoint that stays is the busiest, and asked last
    assert (await served.chat()).status == status
    record = await served.recorded()
    assert len({attempt.endpoint for attempt in record.attempts}) == len(record.attempts) == attempts
    assert fleet.calls == (3 if status == 200 else 2)
    fleet.held.opened.set()
    assert (await line.reply()).status == 200


@pytest.mark.parametrize(("dead", "status", "attempts"), [(3, 200, 5), (4, 503, 4)])
async def test_a_call_that_is_refused_at_first_is_still_sent_again_after_a_cut(
    world: World, dead: int, status: int, attempts: int
) -> None:
    """A refusal is no attempt, whichever comes first: so many refuse, one cuts the call, the next one answers."""

    async def cut(visit: Visit) -> None:
        leaving.refuse()
        visit.reset()

    gone = [await world.upstream(answer_well) for _ in range(dead)]
    leaving, staying = await world.upstream(cut), await world.upstream(answer_well)
    served = await world.gateway(
        [upstream.url for upstream in (*gone, leaving, staying)],
        polling={"interval": "60s", "models_interval": "60s"},
        balancing=SPREAD | {"slots": 9, "retry_budget": 0.0},
    )
    busy = [served.endpoint(upstream.address) for upstream in (leaving, staying, staying)]
    for endpoint in busy:  # the busiest is asked last
        endpoint.take_slot("llama3:latest")
    for upstream in gone:
        await upstream.stop()
    assert (await served.chat()).status == status
    for endpoint in busy:
        endpoint.give_slot_back("llama3:latest")
    record = await served.recorded()
    errors = [attempt.error for attempt in record.attempts]
    assert errors == ["upstream_unreachable"] * dead + ["upstream_disconnected", None][: attempts - dead]
    assert len({attempt.endpoint for attempt in record.attempts}) == len(record.attempts) == attempts


async def test_a_retry_that_is_refused_rather_waits_than_asks_again_where_it_was_refused(world: World) -> None:
    fleet = Shrinking()
    served = await fleet.gateway(world, dead=1, slots=1)
    first = await served.begin(ONE)
    await until(lambda: fleet.calls == 1)
    second = await served.begin(ONE)
    await until(lambda: served.waiting == 1, "the call waits for the one that stays")
    fleet.held.opened.set()
    assert [(await line.reply()).status for line in (first, second)] == [200, 200]
    assert [attempt.error for attempt in served.last.attempts] == [
        "upstream_disconnected",
        "upstream_unreachable",
        None,
    ]


class Deleted:
    """Pods that are deleted while calls run: each fails its call. `known` are those of them, in the order in which they
    fail, of which it is known by each failure that they leave."""

    def __init__(self, known: slice, kind: str) -> None:
        self.known = known
        self.kind = kind
        self.failed: list[Upstream] = []

    async def act(self, visit: Visit) -> None:
        """Fails the call; nobody can connect any more."""
        (upstream,) = [upstream for upstream in self.leaving if visit in upstream.visits]
        self.failed.append(upstream)
        for gone in self.failed[self.known]:
            endpoint = self.served.endpoint(gone.address)
            endpoint.is_draining = endpoint.is_deleted = True
        self.served.gateway.fleet.changed()
        upstream.refuse()
        await fail_as(self.kind, visit)

    def name(self) -> None:
        """From now on the gateway knows them as pods."""
        for address, endpoint in self.served.gateway.fleet.endpoints.items():
            endpoint.pod = Pod(f"ollama-{address.port}", "default")

    async def gateway(self, world: World, leaving: int, staying: int, **sections: Any) -> Served:
        """So many that leave, and those that stay, which are asked last."""
        self.leaving = [await world.upstream(self.act) for _ in range(leaving)]
        others = [await world.upstream(answer_well) for _ in range(staying)]
        self.served = await world.gateway(
            [upstream.url for upstream in (*self.leaving, *others)],
            polling={"interval": "60s", "models_interval": "60s"},
            balancing=SPREAD | {"slots": 9, "retry_budget": 0.0},
            **sections,
        )
        self.busy = [self.served.endpoint(upstream.address) for upstream in others]
        for endpoint in self.busy:
            endpoint.take_slot("llama3:latest")
        return self.served


ALL, ALL_BUT_THE_LAST, ALL_BUT_THE_FIRST, NONE = slice(None), slice(0, -1), slice(1, None), slice(0)


@pytest.mark.parametrize(
    ("leaving", "staying", "known", "kind", "status", "attempts"),
    [
        pytest.param(3, 1, ALL, "reset", 200, 4, id="each is known to leave as it cuts the call"),
        pytest.param(3, 1, ALL, "500", 200, 4, id="its runner ends before it does"),
        pytest.param(2, 1, ALL_BUT_THE_LAST, "reset", 200, 3, id="of the first it is known when the second cuts"),
        pytest.param(4, 1, ALL_BUT_THE_LAST, "reset", 200, 5, id="each is known a cut later"),
        pytest.param(4, 1, ALL_BUT_THE_FIRST, "reset", 200, 5, id="one that does not leave counts, and no other"),
        pytest.param(8, 1, ALL, "reset", 502, 5, id="it ends somewhere"),
        pytest.param(1, 0, ALL, "reset", 502, 1, id="the only one"),
        pytest.param(3, 1, NONE, "reset", 502, 2, id="a call that kills endpoints kills no third"),
    ],
)
async def test_endpoints_that_leave_while_they_work_for_a_call_do_not_count(
    monkeypatch: pytest.MonkeyPatch,
    world: World,
    leaving: int,
    staying: int,
    known: slice,
    kind: str,
    status: int,
    attempts: int,
) -> None:
    """Many pods are deleted at once: who fails a call on its way out says nothing about the call."""
    monkeypatch.setattr("ai_gateway.edge.attempts.DEPARTURE_SECONDS", 3600)  # nobody waits: these are no pods
    pods = Deleted(known, kind)
    served = await pods.gateway(world, leaving, staying)
    reply = await served.chat()
    for endpoint in pods.busy:
        endpoint.give_slot_back("llama3:latest")
    assert reply.status == status
    assert status == 200 or error_in(reply.body)["code"] == "upstream_disconnected"
    record = await served.recorded()
    assert len({attempt.endpoint for attempt in record.attempts}) == len(record.attempts) == attempts
    budget = served.gateway.fleet.budget
    assert (budget.active, budget.retries) == (0, 0)


@pytest.mark.parametrize("told", [(0,), (1,), (0, 1)], ids=["first", "second", "both"])
async def test_a_call_that_two_pods_cut_waits_for_word_that_they_are_deleted(
    monkeypatch: pytest.MonkeyPatch, world: World, told: tuple[int, ...]
) -> None:
    """Pods may die before the watch tells of them: the call goes to a third one once it does."""
    monkeypatch.setattr("ai_gateway.edge.attempts.DEPARTURE_SECONDS", 3600)
    pods = Deleted(NONE, "reset")
    served = await pods.gateway(world, leaving=2, staying=1)
    pods.name()
    fleet = served.gateway.fleet
    line = await served.begin(ONE)
    await until(lambda: len(pods.failed) == 2 and served.in_flight == len(pods.busy), "it waits, and holds no slot")
    gone = {served.endpoint(pods.failed[index].address) for index in told}
    fleet.apply([address for address, endpoint in fleet.endpoints.items() if endpoint not in gone])
    assert (await line.reply()).status == 200
    for endpoint in pods.busy:
        endpoint.give_slot_back("llama3:latest")
    record = await served.recorded()
    assert [attempt.error for attempt in record.attempts] == ["upstream_disconnected"] * 2 + [None]


async def test_a_wait_for_word_outlasts_the_first_byte_of_the_attempt_before(
    monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    """That attempt is over, and so is its deadline."""
    monkeypatch.setattr("ai_gateway.edge.attempts.DEPARTURE_SECONDS", 0.3)
    pods = Deleted(NONE, "reset")
    served = await pods.gateway(world, leaving=2, staying=1, timeouts={"first_byte": "100ms"})
    pods.name()
    assert (await served.chat(stream=True)).error["code"] == "upstream_disconnected"
    for endpoint in pods.busy:
        endpoint.give_slot_back("llama3:latest")


@pytest.mark.parametrize("leaving", [1, 2])
async def test_no_word_is_waited_for_where_nobody_else_can_take_the_call(
    monkeypatch: pytest.MonkeyPatch, world: World, leaving: int
) -> None:
    monkeypatch.setattr("ai_gateway.edge.attempts.DEPARTURE_SECONDS", 3600)
    pods = Deleted(NONE, "reset")
    served = await pods.gateway(world, leaving, staying=0)
    pods.name()
    assert (await served.chat()).error["code"] == "upstream_disconnected"


async def test_a_call_that_kills_pods_kills_no_third(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    """Discovery says nothing of them, so they are not deleted."""
    monkeypatch.setattr("ai_gateway.edge.attempts.DEPARTURE_SECONDS", 0.01)
    pods = Deleted(NONE, "reset")
    served = await pods.gateway(world, leaving=3, staying=0)
    pods.name()
    reply = await served.chat()
    assert (reply.status, reply.error["code"]) == (502, "upstream_disconnected")
    assert len((await served.recorded()).attempts) == 2


async def test_an_endpoint_that_dies_is_passed_over_and_comes_back(world: World) -> None:
    """No call fails for it, before its death is noticed or after; its return is noticed."""
    simulator = await world.simulator(count=2)
    served = await world.gateway(simulator.urls)
    simulator.endpoints[0].kill()
    for _ in range(10):
        assert (await served.chat(max_tokens=1)).status == 200
    await until(lambda: served.endpoint(simulator.addresses[0]).state == "down")
    simulator.endpoints[0].restart()
    await until(lambda: served.endpoint(simulator.addresses[0]).state == "up")


async def test_an_endpoint_that_cuts_every_call_is_ejected(world: World) -> None:
    """It answers its probes all the while: failures of calls add up, and it gets no more of them."""

    async def break_off(visit: Visit) -> None:
        visit.reset()

    async def act(visit: Visit) -> None:
        await asyncio.sleep(0.01)
        await answer_well(visit)

    bad, good = await world.upstream(break_off), await world.upstream(act)
    served = await world.gateway([bad.url, good.url])
    ejected = served.endpoint(bad.address)
    for _ in range(60):
        lines = [await served.begin(ONE) for _ in range(3)]
        assert {(await line.reply()).status for line in lines} == {200}
        if ejected.state == "ejected":
            break
    assert ejected.state == "ejected"
    seen = len(bad.visits)
    for _ in range(10):
        assert (await served.chat()).status == 200
    assert len(bad.visits) == seen
    assert (await served.get("/v1/health"))["ollama"] == "degraded"


async def test_never_more_than_half_are_ejected(world: World) -> None:
    """When most endpoints cut calls, the cause may be on our side: the rest still gets calls."""

    async def break_off(visit: Visit) -> None:
        visit.reset()

    upstreams = [await world.upstream(break_off) for _ in range(4)]
    served = await world.gateway([upstream.url for upstream in upstreams], balancing={"slots": 8})
    for _ in range(8):
        lines = [await served.begin(ONE) for _ in range(8)]
        for line in lines:
            assert (await line.reply()).status in (502, 503)
        states = Counter(endpoint.state for endpoint in served.gateway.fleet.endpoints.values())
        assert states["ejected"] <= 2


async def test_a_poison_request_ejects_nothing(world: World) -> None:
    """It fails with 500 wherever it is sent, a hundred times, beside healthy traffic that never notices."""

    async def act(visit: Visit) -> None:
        if "poison" in visit.body.decode():
            await fail_as("500", visit)
        else:
            await answer_well(visit)

    upstreams = [await world.upstream(act) for _ in range(3)]
    served = await world.gateway([upstream.url for upstream in upstreams], balancing={"slots": 4})

    async def healthy() -> set[int]:
        return {(await served.chat("good")).status for _ in range(60)}

    async def poison() -> list[Any]:
        return [await served.chat("poison", stream=bool(number % 2)) for number in range(100)]

    good, refused = await asyncio.gather(healthy(), poison())
    assert good == {200}
    assert {(reply.status, reply.header("x-should-retry")) for reply in refused} == {(502, "false")}
    for endpoint in served.gateway.fleet.endpoints.values():
        assert endpoint.state == "up"
        assert not endpoint.model_health("llama3:latest").is_ejected
        assert endpoint.model_health("llama3:latest").failures == 0


async def test_an_endpoint_that_alone_fails_with_5xx_loses_that_model(world: World) -> None:
    """Others can serve the calls: the model is ejected there, the endpoint itself is not."""
    simulator = await world.simulator(count=2)
    served = await world.gateway(simulator.urls, balancing=SPREAD | {"slots": 4})
    simulator.endpoints[0].faults.add(Fault(kind="status", status=500, model="llama3"))
    bad = served.endpoint(simulator.addresses[0])
    for _ in range(100):
        assert (await served.chat(max_tokens=1)).status == 200
        if bad.model_health("llama3:latest").is_ejected:
            break
    assert bad.model_health("llama3:latest").is_ejected
    assert bad.state == "up"
    assert (await served.chat(model="coder", max_tokens=1)).status == 200


async def test_with_all_endpoints_down_the_error_comes_quickly(world: World) -> None:
    """503 no_endpoint to those who wait too; the first endpoint's return serves again."""
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls, timeouts={"queue": "10m"})
    simulator.endpoints[0].faults.add(Fault(kind="hang", routes="openai"))
    first = await served.begin(ONE)
    await until(lambda: served.in_flight == 1)
    waiting = await served.begin(ONE)
    await until(lambda: served.waiting == 1)
    simulator.endpoints[0].kill()
    replies = [await soon(line.reply()) for line in (first, waiting)]
    assert replies[0].error["code"] in ("upstream_disconnected", "upstream_unreachable")
    assert replies[1].error["code"] in ("no_endpoint", "upstream_unreachable")
    await until(lambda: served.endpoint(simulator.addresses[0]).state == "down")
    assert (await served.chat()).error["code"] == "no_endpoint"
    simulator.endpoints[0].faults.clear()
    simulator.endpoints[0].restart()
    await until(lambda: served.endpoint(simulator.addresses[0]).state == "up")
    assert (await served.chat(max_tokens=1)).status == 200


async def test_odd_answers_to_probes_do_not_end_the_probing(world: World) -> None:
    """Whatever a probe is answered with, the endpoint is looked at again, and is up when it is well."""
    upstream = await world.upstream(answer_well)
    served = await world.gateway([upstream.url])
    odd = [b'{"version":"\xff","models":[{"name":"\xff"}]}', b"[" * 100_000, b""]
    odd += [b'{"models":[{"name":7},{"name":"a","digest":[],"details":[],"modified_at":"9999-99-99"}]}']
    for body in odd:
        upstream.state = dict.fromkeys(("/api/version", "/api/tags", "/api/ps"), whole(body))
        await asked_again(upstream, "/api/version")
        upstream.state = {}
        await asked_again(upstream, "/api/version")
        await until(lambda: served.endpoint(upstream.address).state == "up", repr(body[:30]))
    upstream.state = {"/api/tags": b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\n\r\nx"}
    await asked_again(upstream, "/api/tags")
    upstream.state = {}
    await asked_again(upstream, "/api/tags")
    assert (await served.chat()).status == 200


async def asked_again(upstream: Upstream, path: str) -> None:
    """Returns when an endpoint was asked for a path twice from now on, so that one answer was taken."""
    before = upstream.asked.count(path)
    await until(lambda: upstream.asked.count(path) >= before + 2, f"{path} is asked for again")


async def test_a_blocked_list_of_loaded_models_means_unknown(world: World) -> None:
    """/api/ps can block while Ollama unloads: the endpoint stays up and is used."""
    simulator = await world.simulator()
    served = await world.gateway(simulator.urls)
    simulator.endpoints[0].faults.add(Fault(kind="hang", path="/api/ps"))
    await until(lambda: simulator.endpoints[0].ledger.running >= 1)
    assert (await served.chat(max_tokens=1)).status == 200
    assert served.endpoint(simulator.addresses[0]).state == "up"


async def discovering(world: World, *names: str) -> Served:
    """A gateway that serves what its endpoint lists."""
    upstream = await world.upstream(answer_well, models=names)
    return await world.gateway([upstream.url], catalog={"discover": True}, models={"mine": {"ollama": "llama3"}})


async def test_discovered_models_are_served_under_ollamas_name(world: World) -> None:
    """With and without `:latest`; the config's own ids as well."""
    served = await discovering(world, "llama3:latest", "ns/other:1b", "reg.example/ns/far:2b")
    ids = [model["id"] for model in (await served.get("/v1/models"))["data"]]
    assert ids == ["mine", "llama3:latest", "ns/other:1b", "reg.example/ns/far:2b"]
    for model in ("mine", "llama3:latest", "llama3", "ns/other:1b", "reg.example/ns/far:2b"):
        reply = await served.chat(model=model)
        assert (reply.status, reply.json["model"]) == (200, model)
    assert (await served.get("/v1/models/ns%2Fother:1b"))["state"] == "ready"
    assert (await served.chat(model="nope")).error["code"] == "model_not_found"


async def test_a_cloud_name_is_never_discovered(world: World) -> None:
    """Neither by its tag nor by what Ollama says of it."""
    served = await discovering(world, "llama3:latest", "gpt-oss:120b-cloud", "kimi:cloud", "KIMI:Cloud")
    assert [model["id"] for model in (await served.get("/v1/models"))["data"]] == ["mine", "llama3:latest"]
    for model in ("gpt-oss:120b-cloud", "kimi:cloud", "KIMI:Cloud", "kimi"):
        assert (await served.chat(model=model)).status == 404


async def test_an_error_in_a_stream_says_whom_to_blame(world: World) -> None:
    """A poison stream after the early 200 is an event, too."""
    hold = asyncio.Event()

    async def act(visit: Visit) -> None:
        await hold.wait()
        await fail_as("500", visit)

    upstreams = [await world.upstream(act) for _ in range(2)]
    served = await world.gateway([upstream.url for upstream in upstreams], timeouts={"heartbeat": "30ms"})
    line = await served.begin(chat(stream=True))
    await line.head()
    await line.event()
    hold.set()
    blocks = []
    while (block := await line.event()) is not None:
        blocks.append(block)
    assert error_in(blocks[-1].removeprefix("data: "))["code"] == "upstream_error"
    assert not served.endpoint(upstreams[0].address).model_health("llama3:latest").failures


async def test_a_model_whose_only_holder_is_down_is_worth_a_retry(world: World) -> None:
    """A pod that restarts must not tell clients to give up: 503 no_endpoint, and health says unavailable."""
    holder = await world.simulator(models=("llama3:latest", "codellama:13b"))
    other = await world.simulator(models=("codellama:13b",))
    served = await world.gateway([*holder.urls, *other.urls])
    assert (await served.chat()).status == 200
    holder.endpoints[0].kill()
    for _ in range(2):  # before a probe has noticed, and after
        reply = await served.chat()
        assert (reply.status, reply.error["code"], reply.header("x-should-retry")) == (503, "no_endpoint", None)
        await until(lambda: served.endpoint(holder.addresses[0]).state == "down")
    assert (await served.get("/v1/models/llama3"))["state"] == "unavailable"
