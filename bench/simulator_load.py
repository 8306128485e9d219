"""How much the simulator can carry: 64 endpoints, 1,000 streams of 10 tokens/s, in one process.

    python bench/simulator_load.py [--streams 1000] [--endpoints 64] [--seconds 10]

Prints the simulator's share of one core while all streams run, and how late tokens arrive against the most punctual one
of their stream. The client is this process, so a second core should be free.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import uvloop

RATE = 10.0
_COMMAND = (
    "import argparse, sys; from ai_gateway.cli.simulate import add_command; p = argparse.ArgumentParser(); "
    "add_command(p.add_subparsers()); a = p.parse_args(); sys.exit(a.run(a))"
)


@dataclass(slots=True)
class Stream(asyncio.Protocol):
    """One client connection; it notes when each event arrived."""

    request: bytes
    done: "asyncio.Future[None]"
    arrivals: list[float] = field(default_factory=list)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(self.request)  # uvloop's are none by class

    def data_received(self, data: bytes) -> None:
        self.arrivals += [time.perf_counter()] * data.count(b'"delta":{"')

    def connection_lost(self, _error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def lateness(self) -> list[float]:
        """How late each event was, in seconds, against the stream's own most punctual one."""
        offsets = [at - place / RATE for place, at in enumerate(self.arrivals)]
        soonest = min(offsets, default=0.0)
        return [offset - soonest for offset in offsets]


def request_bytes(address: str, tokens: int, number: int) -> bytes:
    """A chat request for a stream of so many tokens."""
    messages = [{"role": "user", "content": f"stream {number}"}]
    body = json.dumps({"model": "llama3", "stream": True, "max_tokens": tokens, "messages": messages}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far (Linux)."""
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(ticks[11]) + int(ticks[12])) / 100


def memory_mib(pid: int) -> float:
    """Resident memory of a process (Linux)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 2**20


async def run(addresses: list[str], streams: int, seconds: float, pid: int) -> str:
    """Opens all streams, measures while all of them run, and returns a line of results."""
    loop = asyncio.get_running_loop()
    tokens = int(seconds * RATE)
    clients = []
    for number in range(streams):
        address = addresses[number % len(addresses)]
        host, port = address.rsplit(":", 1)
        client = Stream(request_bytes(address, tokens, number), loop.create_future())
        await loop.create_connection(lambda client=client: client, host, int(port))  # type: ignore[misc]
        clients.append(client)
    await asyncio.sleep(1)
    before, started_at = cpu_seconds(pid), time.perf_counter()
    await asyncio.sleep(seconds * 0.6)
    share = (cpu_seconds(pid) - before) / (time.perf_counter() - started_at)
    memory = memory_mib(pid)
    await asyncio.gather(*(client.done for client in clients))
    late = sorted(1000 * seconds for client in clients for seconds in client.lateness())
    received = sum(len(client.arrivals) for client in clients)
    return (
        f"{len(addresses)} endpoints, {streams} streams of {RATE:g} tokens/s: {received} of {streams * tokens} tokens, "
        f"CPU {share:.0%} of a core, lateness p50 {late[len(late) // 2]:.1f} ms, "
        f"p99 {late[int(len(late) * 0.99)]:.1f} ms, max {late[-1]:.1f} ms, RSS {memory:.0f} MiB"
    )


def main() -> None:
    """Starts the simulator, measures, ends it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--endpoints", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    flags = f"simulate --listen 127.0.0.1:0 --endpoints {arguments.endpoints} --slots 64 --tokens-per-second {RATE}"
    command = [sys.executable, "-c", _COMMAND, *flags.split(), "--answer-tokens", "1000000", "--load-seconds", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as simulator:
        assert simulator.stdout is not None
        addresses = [simulator.stdout.readline().strip().removeprefix("http://") for _ in range(arguments.endpoints)]
        try:
            print(uvloop.run(run(addresses, arguments.streams, arguments.seconds, simulator.pid)))
        finally:
            simulator.terminate()


if __name__ == "__main__":
    main()
