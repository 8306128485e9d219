"""`python -m bench.limits`: what one check of limits costs, and what limits add to a request."""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from ai_gateway.config.limits import LimitsSection, RateLimits
from ai_gateway.exchange import Caller
from ai_gateway.limits.admission import LimitExceeded
from ai_gateway.limits.headers import limit_headers
from ai_gateway.limits.limiter import AdmissionRequest, Limiter, LimiterDeps
from bench.build import BenchError, build
from bench.processes import allow_many_files, running_stub, take_cores
from bench.scenarios import SCENARIOS, Load, measure
from bench.targets import ask_once, gateway, serving

CALLS = 100  # held at a time
REPEATS = 500
CHOSEN = ("many", "one")
ALL = RateLimits(rpm=10**9, tpm=10**11, concurrent=10**6, tokens_per_day=10**12)
SECTIONS = {
    "one limit": LimitsSection(default=RateLimits(rpm=10**9)),
    "requests and tokens of a caller": LimitsSection(default=RateLimits(rpm=10**9, tpm=10**11)),
    "all twelve limits of a call": LimitsSection(default=ALL, tenants={"t": ALL}, models={"bench": ALL}),
}
LIMITED = "limits: {default: {rpm: 1000000000, tpm: 100000000000}, models: {bench: {concurrent: 100000}}}\n"


async def checks(section: LimitsSection) -> tuple[float, float, float]:
    """CPU in us, the least of some repeats: of a check, of its settlement, and of the headers of an answer."""
    limiter = Limiter(LimiterDeps(time.time, time.monotonic))
    limiter.configure(section)
    ask = AdmissionRequest(Caller(name="caller", method="keys", tenant="t"), "bench", 500, 600.0)
    least = [float("inf")] * 3
    for _ in range(REPEATS):
        began = time.process_time()
        verdicts = [await limiter.admit(ask) for _ in range(CALLS)]
        checked = time.process_time()
        for verdict in verdicts:
            assert verdict is not None
            assert not isinstance(verdict, LimitExceeded)
            verdict.settle(300)
        settled = time.process_time()
        for verdict in verdicts:
            limit_headers(verdict.counts)  # type: ignore[union-attr]  # as asserted
        told = time.process_time()
        found = (checked - began, settled - checked, told - settled)
        least = [min(one, other / CALLS * 1e6) for one, other in zip(least, found, strict=True)]
    return least[0], least[1], least[2]


def requests(rounds: int, seconds: float) -> dict[tuple[str, str], list[float]]:
    """CPU per request in us, by scenario and variant, one a round."""
    programs = build()
    allow_many_files()
    cores = take_cores()
    command = [str(Path(sys.executable).parent / "ai-gateway")]
    found: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as stack:
        folder = Path(name)
        port, pid = stack.enter_context(running_stub(programs.stub, cores.load, folder / "stub"))
        load = Load(programs.loadgen, pid, seconds)
        servers = {}
        for variant, sections in (("off", ""), ("on", LIMITED)):
            (folder / variant).mkdir()
            launch = gateway(command, {}, sections)(port, folder / variant)
            servers[variant] = stack.enter_context(serving(launch, cores.target, folder / variant))
            ask_once(servers[variant].port)
        for number in range(rounds):
            for scenario in (one for one in SCENARIOS if one.name in CHOSEN):
                for variant in ("off", "on")[:: 1 if number % 2 else -1]:
                    sample = measure(load, scenario, servers[variant].port, servers[variant].pids)
                    if sample["failed"]:
                        raise BenchError(f"{variant}, {scenario.title}: calls failed")
                    found.setdefault((scenario.name, variant), []).append(sample["cpu_us"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.limits", description=__doc__)
    parser.add_argument("--rounds", type=int, default=11, help="of whole requests; 0: checks alone")
    parser.add_argument("--seconds", type=float, default=2.0)
    chosen = parser.parse_args()
    for title, section in SECTIONS.items():
        check, settlement, headers = asyncio.run(checks(section))
        print(f"{title}: check {check:.1f} us, settlement {settlement:.1f} us, headers {headers:.1f} us")
    found = requests(chosen.rounds, chosen.seconds) if chosen.rounds else {}
    for scenario in CHOSEN if found else ():
        pairs = zip(found[scenario, "on"], found[scenario, "off"], strict=True)
        more = [on - off for on, off in pairs]
        plain = statistics.median(found[scenario, "off"])
        spread = f"({min(more):.1f}..{max(more):.1f})"
        print(f"{scenario}: +{statistics.median(more):.1f} us {spread} on {plain:.0f} us per request")


if __name__ == "__main__":
    main()
