"""`python -m bench.audit`: what an entry of the audit costs, and how fast a large one is read."""

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from ai_gateway.audit.backlog import MOST_AT_ONCE
from ai_gateway.audit.chain import Link, verify
from ai_gateway.audit.entry import AuditEntry
from ai_gateway.audit.recorder import record
from ai_gateway.audit.settings import AuditSettings
from ai_gateway.audit.sqlite import SqliteStore
from ai_gateway.audit.sqlite_archive import SqliteArchive
from ai_gateway.audit.store import Position, Query
from ai_gateway.audit.writer import Writer
from ai_gateway.exchange import Attempt, Caller, Exchange, Ids, Times, Upstream
from ai_gateway.wire.address import parse_url
from ai_gateway.wire.call import Call
from ai_gateway.wire.operations import CHAT
from ai_gateway.wire.usage import Usage

KEY = b"k" * 32
DAY_NS = 86_400 * 10**9
PAGES = 200
QUERIES = {
    "no filter": Query(),
    "actor": Query(actor="caller-7"),
    "model": Query(model="model-3"),
    "status 200": Query(status=200),
    "status 404, one in a hundred": Query(status=404),
    "outcome refused": Query(outcome="refused"),
    "tenant": Query(tenant="team-2"),
    "actor + model": Query(actor="caller-7", model="model-3"),
    "an actor that is nobody": Query(actor="nobody"),
    "actor + status + tenant (bounded)": Query(actor="caller-7", status=404, tenant="team-2"),
}


def exchanges(count: int) -> Iterator[Exchange]:
    """Finished requests of many callers, spread over a day."""
    rng = random.Random(1)
    address = parse_url("http://10.0.0.7:11434")
    step, start = DAY_NS // count, time.time_ns() - DAY_NS
    for number in range(count):
        request_id = f"{(start + number * step) // 10**6:012x}{rng.getrandbits(80):020x}"
        times = Times(100.0, start + number * step)
        exchange = Exchange(Ids(request_id), times, "POST", "/v1/chat/completions")
        exchange.route = "/v1/chat/completions"
        exchange.client_name = "OpenAI/Python 1.99.9"
        exchange.caller = Caller(name=f"caller-{rng.randrange(50)}", tenant=f"team-{rng.randrange(8)}")
        exchange.call = Call(CHAT, f"model-{rng.randrange(10)}", True, True, {})
        exchange.ids.model = "llama3:latest"
        attempt = Attempt(Upstream(address, "ai/ollama-0"), "warm", True)
        attempt.started_at = 100.01
        exchange.attempts.append(attempt)
        exchange.times.queued_at, exchange.times.leased_at, exchange.times.first_byte_at = 100.0, 100.005, 100.2
        exchange.tokens.usage = Usage(120, 340)
        exchange.outcome.status = 404 if number % 100 == 0 else 200
        exchange.outcome.kind = "refused" if number % 100 == 0 else "ok"
        exchange.body_bytes, exchange.outcome.sent_bytes = 900, 24_000
        exchange.times.closed_at = 101.5
        yield exchange


def quantile(values: list[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


async def written(path: Path, count: int, at_once: int) -> tuple[float, float]:
    """Microseconds of CPU for each entry, and entries a second, from exchanges that come so many `at_once`."""
    settings = AuditSettings("bench/1", lambda: KEY, 1e9, 1 << 40)
    writer = Writer(SqliteStore(path, False, time.time_ns), settings, asyncio.get_running_loop())
    writer.start()
    await asyncio.to_thread(writer.is_tried.wait)
    done = list(exchanges(count))
    cpu, wall = time.process_time(), time.perf_counter()
    for begin in range(0, count, at_once):
        *most, last = (record(exchange, "end", 101.5) for exchange in done[begin : begin + at_once])
        for entry in most:
            writer.enqueue(entry)
        await writer.durable(last)
    await asyncio.to_thread(writer.stop, 60.0)
    spent = time.process_time() - cpu
    assert writer.results["stored"] == count, writer.results
    return spent / count * 1e6, count / (time.perf_counter() - wall)


def fill(path: Path, count: int) -> None:
    """A store of so many entries."""
    store = SqliteStore(path, False, time.time_ns)
    store.open()
    chain, batch = Link(KEY), list[AuditEntry]()
    for number, exchange in enumerate(exchanges(count), 1):
        batch.append(replace(record(exchange, "end", 101.5), writer="bench/1", sequence=number))
        if len(batch) == MOST_AT_ONCE or number == count:
            store.write(batch, chain.join(batch))
            batch.clear()
    store.close()


def pages(path: Path) -> Iterator[tuple[str, list[float]]]:
    """Milliseconds of pages of 100 by each query, each from another place in the list."""
    archive = SqliteArchive(path)
    archive.open()
    rng = random.Random(2)
    now = time.time_ns()
    for title, query in QUERIES.items():
        spent = []
        for _ in range(PAGES):
            place = Position(now - rng.randrange(DAY_NS), "z", 0)
            began = time.perf_counter()
            archive.page(replace(query, after=place))
            spent.append((time.perf_counter() - began) * 1000)
        yield title, spent
    archive.close()


def verified(path: Path) -> float:
    """Seconds to verify all of it."""
    archive = SqliteArchive(path)
    archive.open()
    began = time.perf_counter()
    assert list(verify(archive.chain(), archive.checkpoints(), KEY)) == []
    spent = time.perf_counter() - began
    archive.close()
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.audit", description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000, help="of the large store (default 1000000)")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-audit-") as name:
        folder = Path(name)
        print("| what | median (least..greatest) | goal |\n|---|---|---|", flush=True)
        for title, at_once in (("batches of 50", 50), ("batches of 500", 500)):
            rounds = [
                asyncio.run(written(folder / f"{at_once}-{number}.db", 50_000, at_once))
                for number in range(chosen.rounds)
            ]
            cpu, rate = ([one[place] for one in rounds] for place in (0, 1))
            print(f"| CPU for each entry, {title}, us | {_shown(cpu)} | <= 40 |")
            if at_once == MOST_AT_ONCE:
                print(f"| entries a second | {_shown(rate)} | >= 10000 |", flush=True)
        spent = [verified(folder / "500-0.db") * 2 for _ in range(3)]  # it holds half as many
        print(f"| verify 100,000 entries, s | {_shown(spent)} | <= 5 |", flush=True)
        fill(folder / "large.db", chosen.entries)
        for title, times in pages(folder / "large.db"):
            goal = "" if "bounded" in title else "p95 <= 50"
            middle = f"{statistics.median(times):.1f}, p95 {quantile(times, 0.95):.1f}, worst {max(times):.1f}"
            print(f"| page of 100 over {chosen.entries:,}: {title}, ms | {middle} | {goal} |", flush=True)


def _shown(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f}..{max(values):.1f})"


if __name__ == "__main__":
    main()
