"""Two gateways on a cluster that share what they count and what they remember: a real Redis, a real PostgreSQL."""

import base64
import json
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.kubernetes.figures import tell
from tests.redis import server as redis_server
from tests.release.installed import NEXT, Installed
from tests.services import postgresql
from tests.services.proxy import Proxy

pytestmark = pytest.mark.cluster

RPM = 120
CALLS = 200
SHARED = ("--set", "replicaCount=2", "--set", "config.audit.allow_unauthenticated_reads=true")


@pytest.fixture
def redis(release: Installed, tmp_path: Path) -> Iterator[str]:
    """The URL of a Redis, as pods reach it."""
    address = release.cluster.host_address
    with redis_server.running(tmp_path) as server, Proxy(server.port, address) as proxy:
        yield f"redis://{address}:{proxy.port}"


@pytest.fixture
def audit(release: Installed) -> Iterator[tuple[str, ...]]:
    """Values for one audit of all gateways in a PostgreSQL; its DSN and the chain's key are in Secrets."""
    address = release.cluster.host_address
    with postgresql.running() as server, Proxy(server.port, address) as proxy:
        database = server.new_database().rpartition("dbname=")[2]
        dsn = f"postgresql://{postgresql.USER}@{address}:{proxy.port}/{database}?sslmode=disable"
        _secret(release, "audit-postgresql", dsn=dsn)
        _secret(release, "audit-key", key=secrets.token_hex(32))
        named = ("audit.postgresql.existingSecret=audit-postgresql", "audit.key.existingSecret=audit-key")
        yield tuple(word for one in named for word in ("--set", one))


def _secret(release: Installed, name: str, **content: str) -> None:
    data = {key: base64.b64encode(text.encode()).decode() for key, text in content.items()}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}
    release.kubectl("apply", "-f", "-", input=json.dumps(secret))


def _call(url: str) -> int:
    """One call on a connection of its own, so that either gateway may get it."""
    body = {"model": "llama3", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 1}
    return httpx.post(f"{url}/v1/chat/completions", json=body, trust_env=False, timeout=30).status_code


def _entries(release: Installed, **filters: str) -> list[dict[str, Any]]:
    """All ends that one of the gateways tells of, page by page."""
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        asked = {"limit": "1000", **filters, **({} if cursor is None else {"cursor": cursor})}
        page = httpx.get(f"{release.url}/v1/audit/logs", params=asked, trust_env=False, timeout=30)
        assert page.status_code == 200, page.text
        told = page.json()
        assert "complete" not in told
        found += told["data"]
        cursor = told["next_cursor"]
        if cursor is None:
            return found


def test_two_gateways_share_limits_in_redis_and_the_audit_in_postgresql(
    release: Installed, redis: str, audit: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    """Together they admit what one would, and each of them tells of the calls of both."""
    release.cluster.start_simulated("ollama", release.namespace, models="llama3:latest", tokens_per_second=1000)
    limits = {"default": {"rpm": RPM}, "redis": {"url": redis, "timeout": "5s"}}
    release.install(*SHARED, *audit, "--set-json", f"config.limits={json.dumps(limits)}")
    release.until(lambda: release.is_ready(2))
    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        statuses = Counter(pool.map(_call, [release.url] * CALLS))
    refilled = RPM * (time.monotonic() - began) / 60
    assert set(statuses) == {200, 429}
    assert 0.95 * RPM <= statuses[200] <= 1.05 * (RPM + refilled)
    release.until(lambda: len(_entries(release, model="llama3")) == CALLS, 30)
    entries = _entries(release, model="llama3")
    writers = Counter(entry["writer"] for entry in entries)
    assert {writer.partition("/")[0] for writer in writers} == set(release.pods())
    assert Counter(entry["status"] for entry in entries) == statuses
    tell(
        request, f"{statuses[200]} of {CALLS} calls admitted by two gateways, {refilled:.0f} of them new within the run"
    )


def test_an_upgrade_in_strict_mode_closes_every_intent_once(
    release: Installed, audit: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    """Old gateways leave while new ones look for what dead ones left behind: nobody takes a live one's calls."""
    release.cluster.start_simulated("ollama", release.namespace, models="llama3:latest", tokens_per_second=20)
    strict = (*SHARED, *audit, "--set", "config.audit.mode=strict")
    release.install(*strict)
    release.until(lambda: release.is_ready(2))
    before, statuses, is_over = set(release.pods()), Counter[int](), False

    def call_on(_: int) -> None:
        while not is_over:
            statuses[_call(release.url)] += 1

    with ThreadPoolExecutor(9) as pool:
        calling = [pool.submit(call_on, number) for number in range(8)]
        release.upgrade(*strict, "--set", f"image.tag={NEXT}")
        release.until(lambda: release.is_ready(2) and not before & set(release.pods()))
        is_over = True
        for one in calling:
            one.result()
    assert set(statuses) == {200}
    release.until(lambda: len(_entries(release, model="llama3")) == statuses[200], 30)
    entries = _entries(release, model="llama3")
    assert len({entry["request_id"] for entry in entries}) == len(entries)
    assert {entry["outcome"] for entry in entries} == {"ok"}
    assert len({entry["writer"].partition("/")[0] for entry in entries}) == 4
    tell(request, f"{statuses[200]} calls through the upgrade, each with one intent and one end")
