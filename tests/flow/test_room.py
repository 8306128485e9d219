"""Room for bodies: every caller finds some, even if another one holds much of it for long."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.flow.line import Line
from tests.flow.upstream import Gate, Visit, answer, answer_well, whole
from tests.flow.waiting import until
from tests.flow.world import CHAT, Served, World, chat

from ai_gateway.accounting.body_deadline import LEAST_BYTES, LEAST_SECONDS, BodyDeadline
from ai_gateway.accounting.buffers import SMALL_BYTES, SMALL_PART, BodyShare, Buffers
from ai_gateway.errors import BuffersFull

ROOM = 64 << 20
MIB = 1 << 20


class Party:
    """Holders of one room, by caller and address."""

    def __init__(self) -> None:
        self.buffers = Buffers()
        self.gone: list[BodyShare] = []

    def hold(self, size: int, caller: str = "a", address: str | None = None) -> BodyShare:
        """A body that is still being sent."""
        hold = BodyShare(self.buffers, (ROOM, 20 << 20), caller, address or caller)
        hold.give_way = lambda: self.gone.append(hold)
        try:
            hold.take(size)
        except BuffersFull:
            hold.release()
            raise
        return hold


def test_alone_one_may_have_all_but_the_part_of_small_bodies() -> None:
    """Every small body of any caller finds some of it."""
    party = Party()
    large = ROOM - ROOM // SMALL_PART
    party.hold(large)
    with pytest.raises(BuffersFull):
        party.hold(SMALL_BYTES + 1)
    for _ in range(ROOM // SMALL_PART // SMALL_BYTES):
        party.hold(SMALL_BYTES)
    assert not party.gone
    with pytest.raises(BuffersFull):
        party.hold(1)


def test_the_caller_that_holds_more_gives_way_the_newest_body_first() -> None:
    """And no more than is needed, until the other would hold as much."""
    party = Party()
    held = [party.hold(14 * MIB) for _ in range(4)]
    party.hold(10 * MIB, "b")
    assert party.gone == held[3:]
    party.hold(16 * MIB, "b")
    assert party.gone == held[:1:-1]
    with pytest.raises(BuffersFull):
        party.hold(8 * MIB, "b")
    assert len(party.gone) == 2


def test_many_that_hold_little_do_not_keep_anybody_from_what_one_holds() -> None:
    """A share is no fraction of all callers there are."""
    party = Party()
    for _ in range(3):
        party.hold(16 * MIB, "hog")
    for number in range(100):
        party.hold(80_000, f"small-{number}")
    party.hold(12 * MIB, "b")
    assert [hold.caller for hold in party.gone] == ["hog"]


def test_many_callers_at_one_address_have_one_share_against_another_address() -> None:
    """And the other way round: one caller with many addresses."""
    party = Party()
    for number in range(4):
        party.hold(14 * MIB, f"key-{number}", "here")
    party.hold(14 * MIB, "other", "there")
    assert len(party.gone) == 1
    party = Party()
    for number in range(4):
        party.hold(14 * MIB, "one", f"10.0.0.{number}")
    party.hold(14 * MIB, "other", "10.0.0.0")
    assert len(party.gone) == 1


def test_no_body_gives_way_in_vain() -> None:
    """Where even all that may go is too little, nobody goes."""
    party = Party()
    kept = party.hold(30 * MIB)
    kept.give_way = None  # an endpoint works for it
    party.hold(26 * MIB)
    with pytest.raises(BuffersFull):
        party.hold(31 * MIB, "b")
    assert not party.gone


class Room(RuleBasedStateMachine):
    """Whatever comes and goes, in whatever order, the counts are those of what is held."""

    def __init__(self) -> None:
        super().__init__()
        self.buffers = Buffers()
        self.holds: list[BodyShare] = []

    @rule(
        caller=st.sampled_from("abc"),
        address=st.sampled_from("xyz"),
        sizes=st.lists(st.integers(1, 12 * MIB), min_size=1, max_size=4),
        may_go=st.booleans(),
    )
    def send(self, caller: str, address: str, sizes: Sequence[int], may_go: bool) -> None:
        """A body that comes in pieces."""
        hold = BodyShare(self.buffers, (ROOM, 20 << 20), caller, address)
        if may_go:
            hold.give_way = lambda: self.holds.remove(hold)
        self.holds.append(hold)
        try:
            for size in sizes:
                hold.take(size)
        except BuffersFull:
            hold.release()
            self.holds.remove(hold)

    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        """One of them is over, perhaps twice."""
        if self.holds:
            hold = self.holds.pop(data.draw(st.integers(0, len(self.holds) - 1)))
            hold.release()
            hold.release()

    @rule(data=st.data(), size=st.integers(-MIB, MIB))
    def change(self, data: st.DataObject, size: int) -> None:
        """What is held of one becomes more or less."""
        if self.holds:
            hold = self.holds[data.draw(st.integers(0, len(self.holds) - 1))]
            with suppress(BuffersFull):
                hold.change(max(size, 1 - hold.held_bytes))

    @invariant()
    def counts(self) -> None:
        """Nothing is lost, nothing is left, and no more is held than there is room."""
        buffers = self.buffers
        assert buffers.held_bytes == sum(hold.held_bytes for hold in self.holds) <= ROOM
        assert buffers.large_bytes == sum(hold.held_bytes for hold in self.holds if hold.is_large)
        assert buffers.large_bytes <= ROOM - ROOM // SMALL_PART
        for counts, name in zip(buffers.bytes_held(), ("caller", "address"), strict=True):
            assert counts == {
                one: sum(hold.held_bytes for hold in self.holds if getattr(hold, name) == one)
                for one in {getattr(hold, name) for hold in self.holds}
            }
        assert set(buffers.shares) == set(self.holds)


TestRoom = Room.TestCase
TestRoom.settings = settings(max_examples=40, stateful_step_count=30, deadline=None, derandomize=True, database=None)


def test_a_body_that_comes_slowly_is_given_up() -> None:
    """A byte now and then buys no time; enough of them buys some, up to the end."""
    pace = BodyDeadline(100.0, 70.0)
    assert pace.due == 100 + LEAST_SECONDS
    assert not pace.came(1, 110.0)
    assert pace.due == 100 + LEAST_SECONDS
    assert pace.came(LEAST_BYTES, 120.0)
    assert pace.due == 120 + LEAST_SECONDS
    assert pace.came(LEAST_BYTES, 149.0)
    assert pace.due == 170


async def begun(served: Served, size: int, announced: int | None = None, **headers: str) -> Line:
    """A call whose body has begun, and does not end; without a length it is chunked."""
    line = await served.open()
    length = "transfer-encoding: chunked" if announced is None else f"content-length: {announced}"
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{length}\r\n{lines}\r\n"
    body = b'{"model":"llama3","messages":[{"role":"user","content":"' + b"x" * size
    await line.write(head.encode() + (b"%x\r\n%b\r\n" % (len(body), body) if announced is None else body))
    return line


def held(served: Served) -> int:
    """Bytes that the gateway holds of bodies and answers."""
    return served.gateway.buffers.held_bytes


@pytest.mark.parametrize("announced", [None, 900_000])
async def test_a_body_that_does_not_end_is_408_and_gives_back_its_room(world: World, announced: int | None) -> None:
    """In the API's shape, and as such in the record."""
    served = await world.gateway((await world.simulator()).urls, body={"timeout": "1s"})
    line = await begun(served, 300_000, announced)
    await until(lambda: held(served) > 300_000)
    reply = await line.reply()
    assert (reply.status, reply.error["code"]) == (408, "request_timeout")
    await until(lambda: served.exchanges)
    assert (served.last.outcome.status, held(served)) == (408, 0)


async def test_others_find_room_while_one_address_holds_all_of_it(world: World) -> None:
    """The hog's newest body is refused as if there had been no room; small ones get by in any case."""
    served = await world.gateway(
        [(await world.upstream(answer_well)).url],
        body={"max_bytes": "1MiB", "buffered_bytes": "4MiB"},
        trusted_proxies=["127.0.0.1"],
    )
    lines = [await begun(served, 800_000, 900_000, x_forwarded_for="192.0.2.1") for _ in range(4)]
    await until(lambda: held(served) > 3_200_000)
    assert (await served.chat()).status == 200
    other = {"x-forwarded-for": "192.0.2.2"}
    assert (await served.ask("POST", CHAT, chat("x" * 700_000), other)).status == 200
    reply = await lines[-1].reply()
    assert (reply.status, reply.error["code"]) == (503, "buffers_full")
    for line in lines[:-1]:
        line.vanish()
    await until(lambda: held(served) == 0)


async def test_a_call_that_waits_for_a_slot_gives_way_too(world: World) -> None:
    """Its body is whole, and no endpoint works for it yet."""
    gate = Gate()
    upstream = await world.upstream(gate.act)
    served = await world.gateway(
        [upstream.url], body={"max_bytes": "1MiB", "buffered_bytes": "2MiB"}, trusted_proxies=["127.0.0.1"]
    )
    running = await served.begin(chat(stream=True))
    await running.head()
    body = chat("x" * 800_000, stream=True)
    waiting = [await served.begin(body, headers={"x-forwarded-for": "192.0.2.1"}) for _ in range(2)]
    await until(lambda: served.waiting == 2)
    other = await served.begin(chat("y" * 700_000, stream=True), headers={"x-forwarded-for": "192.0.2.2"})
    reply = await waiting[1].reply()
    assert (reply.status, reply.error["code"]) == (503, "buffers_full")
    gate.opened.set()
    assert b"[DONE]" in await running.rest()
    for line in (waiting[0], other):
        assert b"[DONE]" in (await line.reply()).body
    await until(lambda: held(served) == 0)


@pytest.mark.parametrize("how", ["broken", "unknown model", "gone", "too large", "doubled"])
async def test_room_is_given_back_on_every_way_out(world: World, how: str) -> None:
    """Whatever becomes of a large body."""
    served = await world.gateway((await world.simulator()).urls, body={"max_bytes": "1MiB", "buffered_bytes": "2MiB"})
    if how in ("gone", "too large"):
        line = await begun(served, 600_000)
        await until(lambda: held(served) > 600_000)
        if how == "gone":
            line.vanish()
        else:
            await line.write(b"%x\r\n%b\r\n" % (600_000, b"x" * 600_000))
            assert (await line.reply()).status == 413
    else:
        body = chat("x" * 600_000, model="nobody" if how == "unknown model" else "llama3")
        if how == "broken":
            body = body[:-1]
        if how == "doubled":
            body = body[:-1] + b',"model":"llama3"}'
        assert (await served.ask("POST", CHAT, body)).status == (404 if how == "unknown model" else 400)
    await until(lambda: served.exchanges and held(served) == 0)
    assert not served.gateway.buffers.shares


async def test_an_answer_that_is_too_large_is_502(world: World) -> None:
    """The bound is the config's, and what was held of it is given back."""

    async def act(visit: Visit) -> None:
        await visit.say(whole(answer("x" * 500_000)))

    served = await world.gateway([(await world.upstream(act)).url], body={"max_answer_bytes": "400KiB"})
    reply = await served.chat()
    assert (reply.status, reply.error["code"], reply.error["type"]) == (502, "answer_too_large", "backend_unavailable")
    assert held(served) == 0


async def test_a_large_answer_is_whole(world: World) -> None:
    """With the gateway's id and the asked model, in one piece for the client; it counts as long as it is held."""
    text = "x\n" * 400_000
    seen: list[int] = []

    async def act(visit: Visit) -> None:
        await visit.say(whole(answer(text)))

    served = await world.gateway([(await world.upstream(act)).url], compatibility={"reasoning_content": True})
    line = await served.begin(chat())

    def is_counted() -> bool:
        seen.append(held(served))
        return max(seen) > 100_000

    counting = asyncio.create_task(until(is_counted))
    reply = await line.reply()
    await counting
    assert reply.json["choices"][0]["message"]["content"] == text
    assert (reply.json["model"], reply.json["id"][:9]) == ("llama3", "chatcmpl-")
    assert held(served) == 0
