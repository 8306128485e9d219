"""`python -m bench.audit_postgresql`: entries a second into a PostgreSQL of this machine, and pages over a million."""

import argparse
import random
import statistics
import sys
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

from tests.services.postgresql import running

from ai_gateway.audit.chain import Link, verify
from ai_gateway.audit.entry import AuditEntry
from ai_gateway.audit.postgresql import PostgresqlStore
from ai_gateway.audit.postgresql_archive import PostgresqlArchive
from ai_gateway.audit.store import Page, Position, Query

KEY = b"a key for measurements and for nothing else"
DAYS = 10
DAY_NS = 86_400 * 10**9
FIRST_NS = 20_000 * DAY_NS
PAGES = 200
# One value that many entries have and one that few have, for each filter and for the pair that has an index.
FILTERS: list[dict[str, Any]] = [
    {},
    {"actor": "caller-0"},
    {"actor": "caller-999"},
    {"model": "model-0"},
    {"model": "model-19"},
    {"status": 200},
    {"status": 418},
    {"outcome": "ok"},
    {"outcome": "denied"},
    {"tenant": "team-0"},
    {"tenant": "team-49"},
    {"request_id": "request-77777"},
    {"actor": "caller-0", "model": "model-0"},
    {"actor": "caller-0", "model": "model-19"},
    {"actor": "caller-0", "status": 418},
    {"tenant": "team-0", "outcome": "denied"},
]


def entries(count: int, writer: str) -> Iterator[AuditEntry]:
    """Spread over days, callers, models: a few have most of them."""
    rng = random.Random(count)
    for number in range(count):
        at_ns = FIRST_NS + number * DAYS * DAY_NS // count
        is_rare = rng.random() < 0.0005
        caller = min(int(rng.paretovariate(0.7)) - 1, 999)
        yield AuditEntry(
            writer=writer, sequence=number + 1, kind="end", at_ns=at_ns, started_ns=at_ns - 3 * 10**9,
            request_id=f"request-{number}", trace_id=f"{rng.getrandbits(128):032x}", actor=f"caller-{caller}",
            auth_method="keys", client_address="10.1.2.3", method="POST", route="/v1/chat/completions",
            outcome="denied" if is_rare else "ok", stream=True, attempts=1, bytes_in=900, bytes_out=24_000,
            tenant=f"team-{caller % 50}", user_agent="OpenAI/Python 1.99.0",
            model_asked=f"model-{min(int(rng.paretovariate(0.8)) - 1, 19)}", model_served="llama3:latest",
            endpoint="10.2.3.4:11434", pod="ai/ollama-0", status=418 if is_rare else 200, tokens_in=180,
            tokens_out=240, queue_ms=3, first_byte_ms=240, total_ms=4100, reason="least_in_flight",
        )  # fmt: skip


def fill(store: PostgresqlStore, source: Iterator[AuditEntry], link: Link, batch: int) -> tuple[int, float, float]:
    """Entries written, and the seconds and CPU seconds of this process that it took."""
    written, seconds, busy = 0, 0.0, 0.0
    while made := list(islice(source, batch)):
        began, used = time.perf_counter(), time.process_time()
        store.write(made, link.join(made))
        seconds += time.perf_counter() - began
        busy += time.process_time() - used
        written += len(made)
    return written, seconds, busy


def places(archive: PostgresqlArchive, given: dict[str, Any]) -> list[Position | None]:
    """The first place, and some further down the list."""
    rng = random.Random(5)
    deep = [FIRST_NS + rng.randrange(DAYS * DAY_NS) for _ in range(PAGES - PAGES // 4)]
    return [None] * (PAGES // 4) + [Position(at_ns, "~", 0) for at_ns in deep]


def measure(archive: PostgresqlArchive, given: dict[str, Any]) -> str:
    """A line of the table."""
    times, found = [], []
    for after in places(archive, given):
        began = time.perf_counter()
        page: Page = archive.page(Query(**given, limit=100, after=after))
        times.append((time.perf_counter() - began) * 1000)
        found.append(len(page.entries))
    name = " + ".join(f"{name}={value}" for name, value in given.items()) or "none"
    p95 = statistics.quantiles(times, n=20)[-1]
    return (
        f"| {name} | {statistics.median(found):.0f} | {statistics.median(times):.1f} | {p95:.1f} | {max(times):.1f} |"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.audit_postgresql", description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    count: int = parser.parse_args().entries
    with running({"fsync": "on", "shared_buffers": "512MB", "max_wal_size": "4GB"}) as server:
        dsn = server.new_database()
        store, archive = PostgresqlStore(lambda: dsn, time.time_ns), PostgresqlArchive(lambda: dsn)
        store.open()
        for batch, share in ((500, count), (50, min(count, 50_000)), (1, min(count, 2000))):
            writer = f"gateway-{batch}/1"
            written, seconds, busy = fill(store, entries(share, writer), Link(KEY), batch)
            cpu = busy / written * 1e6
            print(
                f"batches of {batch}: {written / seconds:,.0f} entries/s, {cpu:.1f} us CPU per entry here", flush=True
            )
        print("\n| filter | entries | median ms | p95 ms | most ms |\n|---|---|---|---|---|")
        for given in FILTERS:
            print(measure(archive, given), flush=True)
        began = time.perf_counter()
        archive.usage_of_day("2024-10-05")
        print(f"\nusage of a day: {time.perf_counter() - began:.2f} s")
        began = time.perf_counter()
        pairs = list(islice(archive.chain(), 100_000))
        findings = list(verify(pairs, [], KEY))
        print(f"verified {len(pairs):,} entries in {time.perf_counter() - began:.1f} s, {len(findings)} findings")
        store.close()
        archive.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
