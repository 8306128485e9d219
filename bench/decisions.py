"""What the scheduler's decisions cost, in microseconds of CPU: `python -m bench.decisions`. No network, one thread.

64 endpoints with 4 slots, 20 models of which each endpoint has 3 loaded, 50 callers, 1,000 calls that wait. A dispatch
is one call that ends: its slot is given back and bound to the next call, and a new call asks, and waits. `everywhere`
is the same for a model that all endpoints have loaded, and `free` a call that finds free slots on all of them. `report
made` and `reports taken` are the parts of a gateway among three: what it tells, and what it makes of two that it hears.
"""

import gc
import random
import time
from collections.abc import Callable, Iterator

from msgspec.structs import replace

from ai_gateway.balancing.endpoint import Endpoint
from ai_gateway.balancing.fleet import Fleet
from ai_gateway.balancing.pod import Pod
from ai_gateway.balancing.pool import Pool
from ai_gateway.balancing.report import decode, encode
from ai_gateway.balancing.reporting import Presence
from ai_gateway.balancing.resident import HeldModel, Resident
from ai_gateway.balancing.settings import FleetSettings, PoolSettings
from ai_gateway.balancing.ticket import Claim, Ticket
from ai_gateway.wire.address import Address
from ai_gateway.wire.conversation import Conversation

ENDPOINTS, SLOTS, LOADED, CALLERS, WAITING, TURNS, ROUNDS = 64, 4, 3, 50, 1000, 20_000, 300
MODELS = [f"model-{number}:latest" for number in range(20)]


class Calls:
    """A fleet in which `models` are asked for, and the calls that run."""

    def __init__(self, loaded: Callable[[int], list[str]], seed: int = 1) -> None:
        self.random = random.Random(seed)
        self.now = 1000.0
        settings = FleetSettings(others=PoolSettings(SLOTS, None, 1 << 20))
        self.fleet = Fleet(lambda: self.now, self.random, settings)
        pods = {
            Address(f"pod-{number}"): Pod(f"pod-{number}", "ai", num_parallel=SLOTS, max_loaded_models=LOADED)
            for number in range(ENDPOINTS)
        }
        self.fleet.apply(pods, pods)
        held = {name: HeldModel(name, f"digest of {name}", 1 << 30, 0) for name in MODELS}
        for number, endpoint in enumerate(self.fleet.endpoints.values()):
            self.fleet.saw_up(endpoint, "0.33.0")
            self.fleet.saw_models(endpoint, held)
            residents = [Resident(name, f"digest of {name}", 1 << 30) for name in loaded(number)]
            self.fleet.saw_residents(endpoint, tuple(residents))
            endpoint.speed = self.random.uniform(0.5, 1.5)
        self.running: list[tuple[Pool, Endpoint]] = []

    def claim(self) -> Claim:
        """What a new call asks for: a conversation that is known to nobody."""
        key = self.random.randbytes(16)
        conversation = Conversation((self.random.randbytes(16), key), key, key)
        return Claim(f"caller-{self.random.randrange(CALLERS)}", tokens=1000, conversation=conversation)

    def ask(self, pool: Pool, claim: Claim) -> None:
        """A call comes."""
        self.now += 0.001
        choice = pool.ask(claim=claim)
        if choice is not None:
            self.running.append((pool, choice.endpoint))
            return
        ticket = Ticket(frozenset(), lambda: self._sent(pool, ticket), claim)
        pool.wait(ticket)

    def _sent(self, pool: Pool, ticket: Ticket) -> None:
        assert ticket.choice is not None
        self.running.append((pool, ticket.choice.endpoint))

    def end(self) -> Pool:
        """A call ends, whichever; its slot goes to the next one."""
        place = self.random.randrange(len(self.running))
        self.running[place], last = self.running[-1], self.running[place]
        self.running.pop()
        pool, endpoint = last
        pool.give_back(endpoint)
        return pool


def dispatches(calls: Calls, models: list[str]) -> Iterator[int]:
    """Nanoseconds of each, while 1,000 calls wait."""
    pools = [calls.fleet.pool(model) for model in models]
    while sum(pool.waiting for pool in pools) < WAITING:
        calls.ask(calls.random.choice(pools), calls.claim())
    for _ in range(TURNS):
        claim = calls.claim()
        began = time.thread_time_ns()
        pool = calls.end()
        calls.ask(pool, claim)
        yield time.thread_time_ns() - began


def free(calls: Calls) -> Iterator[int]:
    """Nanoseconds of calls that come and go while all slots are free."""
    pool = calls.fleet.pool(MODELS[0])
    for _ in range(TURNS):
        claim = calls.claim()
        began = time.thread_time_ns()
        calls.ask(pool, claim)
        calls.end()
        yield time.thread_time_ns() - began


def rounds(calls: Calls, is_new: bool) -> Iterator[int]:
    """Nanoseconds of rounds of decisions on loads; none of them finds one due. `is_new`: after each change."""
    calls.fleet.loads.order = lambda _load: None
    for _ in range(ROUNDS):
        calls.fleet.epoch += is_new
        began = time.thread_time_ns()
        calls.fleet.decide()
        yield time.thread_time_ns() - began


def made(calls: Calls) -> Iterator[int]:
    """Nanoseconds of reports, as bytes."""
    for _ in range(ROUNDS):
        began = time.thread_time_ns()
        encode(calls.fleet.peers.make_report())
        yield time.thread_time_ns() - began


def taken(calls: Calls) -> Iterator[int]:
    """Nanoseconds of rounds in which two others tell what this one has itself, and slots are looked for anew."""
    body = encode(replace(calls.fleet.peers.make_report(), uid="b"))
    fresh = frozenset("bc")
    present = Presence(own="a", is_known=True, count=3, ready=fresh | {"a"}, fresh=fresh)
    for _ in range(ROUNDS):
        began = time.thread_time_ns()
        calls.fleet.peers.take_reports({uid: (decode(body), calls.now) for uid in fresh}, present)
        yield time.thread_time_ns() - began


def tell(what: str, nanoseconds: Iterator[int]) -> None:
    """Prints the middle and the tail."""
    found = sorted(nanoseconds)
    p50, p99 = found[len(found) // 2] / 1000, found[len(found) * 99 // 100] / 1000
    print(f"{what:28} p50 {p50:8.1f} us   p99 {p99:8.1f} us")


def main() -> None:
    """Prints a line for each."""
    gc.freeze()
    some = Calls(lambda number: [MODELS[(number * LOADED + one) % len(MODELS)] for one in range(LOADED)])
    tell("dispatch", dispatches(some, MODELS))
    tell("round of load decisions", rounds(some, is_new=False))
    tell("the same after a change", rounds(some, is_new=True))
    tell("report made", made(some))
    tell("reports taken", taken(some))
    every = Calls(lambda _number: MODELS[:LOADED])
    tell("dispatch, everywhere", dispatches(every, MODELS[:1]))
    tell("free", free(Calls(lambda _number: MODELS[:LOADED])))


if __name__ == "__main__":
    main()
