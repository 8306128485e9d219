"""The gateway's own scheduler under simulation: the shipped Fleet, driven by events in place of sockets."""

import math
from collections.abc import Sequence
from functools import partial
from hashlib import blake2b
from typing import Final

from msgspec.structs import replace

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.balancing.learned import Answered
from ai_gateway.balancing.load import Load
from ai_gateway.balancing.pod import Pod
from ai_gateway.balancing.report import Report
from ai_gateway.balancing.reporting import Presence
from ai_gateway.balancing.resident import HeldModel, Resident
from ai_gateway.balancing.settings import FleetSettings, PoolSettings
from ai_gateway.balancing.ticket import Claim, Ticket
from ai_gateway.errors import QueueFull, QueueShare, QueueTimeout
from ai_gateway.wire.address import Address
from ai_gateway.wire.conversation import Conversation
from bench.simulate.contract import Call, Ending, Listed, Outside
from bench.simulate.worlds import World

ROUND_SECONDS: Final = 0.1  # as upstream/loading.py does
TICK_SECONDS: Final = 1.0
LOOK_SECONDS: Final = 0.25
FRESH_SECONDS: Final = 3.0
ENDLESS: Final = 1e9
LEAST_SECONDS: Final = 0.01  # a sum of floats may come out a little below the moment that it stands for
ANSWER_TOKENS: Final = 512  # tokens that an answer is thought to take


class Shipped:
    """A Policy that has the gateway's Fleet decide. Times are simulated seconds."""

    def __init__(self, outside: Outside, world: World, *, learns_speed: bool = True, tells: bool = True) -> None:
        self._outside = outside
        self._learns_speed = learns_speed
        self._tells = tells  # whether the gateways report to each other
        self._heard: dict[str, tuple[Report, float]] = {}
        self._queue_seconds = world.queue_seconds
        pools = {
            model.name: PoolSettings(1, model.own_slots, world.max_waiting, load_seconds=ENDLESS)
            for model in outside.models
        }
        self._fleet = fleet = Fleet(lambda: outside.now, outside.rng, FleetSettings(pools=pools))
        self._models = {model.name: model for model in outside.models}
        self._tickets: dict[Call, Ticket] = {}
        self._sent: dict[Call, tuple[Endpoint, Claim]] = {}
        self._is_asked = False
        self._round_at = -ROUND_SECONDS
        addresses = [Address(f"pod-{pod.number}") for pod in outside.pods]
        facts = {
            address: Pod(f"pod-{pod.number}", "default", num_parallel=pod.slots, max_loaded_models=pod.places)
            for address, pod in zip(addresses, outside.pods, strict=True)
        }
        fleet.apply(addresses, facts)
        self._endpoints = list(fleet.endpoints.values())
        self._numbers = {endpoint: number for number, endpoint in enumerate(self._endpoints)}
        held = {model.name: HeldModel(model.name, model.digest, model.size_bytes, 0) for model in outside.models}
        for endpoint in self._endpoints:
            fleet.saw_up(endpoint, "0.33.0")
            fleet.saw_models(endpoint, held)
        fleet.wake, fleet.loads.order = self._wake, self._order
        fleet.peers.look = lambda endpoint: outside.look(self._numbers[endpoint])
        outside.call_at(outside.now + TICK_SECONDS, self._tick)
        if outside.gateways > 1:
            self.report()

    # -- calls

    def arrive(self, call: Call) -> None:
        """See Policy."""
        self._ask(call, frozenset())

    def _ask(self, call: Call, avoid: frozenset[Endpoint]) -> None:
        pool, claim = self._fleet.pool(call.model.name), self._claim(call)
        try:
            choice = pool.ask(avoid, claim)
        except (QueueFull, QueueShare, QueueTimeout):
            self._outside.refuse(call)
            return
        if choice is not None:
            self._send(call, claim, choice.endpoint)
            return
        ticket = Ticket(avoid, partial(self._settled, call), claim)
        self._tickets[call] = ticket
        pool.wait(ticket)
        self._limit(call, ticket)

    def _limit(self, call: Call, ticket: Ticket) -> None:
        """Refuses a call that has waited too long, as a Lease does: only while the model is resident somewhere."""
        if self._queue_seconds == math.inf or self._tickets.get(call) is not ticket:
            return
        pool = self._fleet.pool(call.model.name)
        left = self._queue_seconds - (pool.clocks()[0] - ticket.warm_at)
        if left > 0:
            self._outside.call_at(self._outside.now + max(left, LEAST_SECONDS), partial(self._limit, call, ticket))
            return
        pool.leave(self._tickets.pop(call))
        self._outside.refuse(call)

    def _settled(self, call: Call) -> None:
        ticket = self._tickets.pop(call)
        if ticket.choice is not None:
            self._send(call, ticket.claim, ticket.choice.endpoint)
        elif isinstance(ticket.error, QueueShare):
            self._outside.refuse(call)
        else:
            self._outside.call_at(self._outside.now + TICK_SECONDS, partial(self._ask, call, frozenset()))

    def _send(self, call: Call, claim: Claim, endpoint: Endpoint) -> None:
        self._sent[call] = (endpoint, claim)
        self._outside.send(call, self._numbers[endpoint])

    def ended(self, call: Call, pod: int, ending: Ending) -> None:
        """See Policy."""
        endpoint, claim = self._sent.pop(call)
        pool, now = self._fleet.pool(call.model.name), self._outside.now
        if ending.outcome == "answered":
            pool.note_call(now - ending.sent_at)
        pool.give_back(endpoint)
        tokens = ending.prompt_tokens + ending.answer_tokens
        written = ending.answer_tokens if ending.outcome == "answered" and self._learns_speed else 0
        seconds = 0.0 if ending.first_at is None else now - ending.first_at
        self._fleet.note_answer(call.model.name, claim, Answered(endpoint.address, tokens, written, seconds))
        if ending.outcome == "failed":
            self._fleet.saw_down(endpoint, "it failed a call")
            if ending.first_at is None:
                self._ask(call, frozenset((endpoint,)))

    def _claim(self, call: Call) -> Claim:
        patience = None if self._queue_seconds == math.inf else self._queue_seconds
        tokens = call.prompt_tokens + ANSWER_TOKENS
        return Claim(call.caller, tokens=tokens, conversation=_conversation(call), patience_seconds=patience)

    def left(self, call: Call) -> None:
        """See Policy."""
        self._fleet.pool(call.model.name).leave(self._tickets.pop(call))

    # -- what is told

    def saw(self, pod: int, listing: Sequence[Listed] | None) -> None:
        """See Policy."""
        endpoint = self._endpoints[pod]
        if listing is None:
            self._fleet.saw_down(endpoint, "it did not answer")
            return
        self._fleet.saw_up(endpoint, "0.33.0")
        residents = tuple(
            Resident(one.name, one.digest, one.size_bytes, one.size_bytes, one.context_length, one.expires_at)
            for one in listing
        )
        self._fleet.saw_residents(endpoint, residents, self._outside.now, 0.0)

    def report(self) -> object | None:
        """See Policy."""
        now, gateways = self._outside.now, frozenset(map(str, range(self._outside.gateways)))
        own = str(self._outside.number)
        fresh = frozenset(uid for uid, (_, at) in self._heard.items() if now - at <= FRESH_SECONDS)
        present = Presence(own=own, is_known=True, count=len(gateways), ready=gateways, fresh=fresh)
        self._fleet.peers.take_reports(self._heard, present)
        return replace(self._fleet.peers.make_report(), uid=own) if self._tells else None

    def heard(self, gateway: int, report: object) -> None:
        """See Policy."""
        assert isinstance(report, Report)
        self._heard[str(gateway)] = (report, self._outside.now)

    # -- loads

    def _wake(self) -> None:
        if not self._is_asked:
            self._is_asked = True
            self._outside.call_at(max(self._outside.now, self._round_at + ROUND_SECONDS), self._decide)

    def _decide(self) -> None:
        self._is_asked, self._round_at = False, self._outside.now
        self._fleet.decide()

    def _tick(self) -> None:
        self._fleet.tick()
        self._outside.call_at(self._outside.now + TICK_SECONDS, self._tick)

    def _order(self, load: Load) -> None:
        pod = self._numbers[load.endpoint]
        if load.phase == "loading":
            self._outside.preload(pod, self._models[load.model], partial(self._loaded, load))
        else:
            assert load.victim is not None
            assert load.victim.name is not None
            self._outside.unload(pod, self._models[load.victim.name], partial(self._unloaded, load))

    def _unloaded(self, load: Load, is_answered: bool) -> None:
        self._fleet.loads.unloaded(load, None if is_answered else "it did not answer")
        self._look(load)

    def _look(self, load: Load) -> None:
        if load.phase == "unloading" and not load.is_over:
            self._outside.look(self._numbers[load.endpoint])
            self._outside.call_at(self._outside.now + LOOK_SECONDS, partial(self._look, load))

    def _loaded(self, load: Load, is_loaded: bool) -> None:
        self._fleet.loads.loaded(load, None if is_loaded else "it did not answer")


def _conversation(call: Call) -> Conversation:
    key = blake2b(f"{call.caller} {call.conversation}".encode(), digest_size=16).digest()
    return Conversation((key,), key, key)
