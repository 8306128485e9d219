"""`python -m bench`: measures the gateway beside nginx and prints a table of ratios."""

import argparse
import platform
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import targets
from bench.build import BenchError, build
from bench.processes import allow_many_files, running_stub, take_cores
from bench.rounds import Bench, Results
from bench.scenarios import SCENARIOS, Load, Scenario
from bench.table import remarks, table

RESULTS = Path(__file__).parent / "results"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--rounds", type=int, help="rounds; default 3")
    parser.add_argument("--seconds", type=float, help="measured seconds of one load; default 2.5")
    parser.add_argument("--quick", action="store_true", help="one round of short loads, about 40 s")
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("--only", action="append", choices=names, help="this scenario; may be repeated")
    parser.add_argument("--litellm", action="store_true", help="LiteLLM too (put into the cache once)")
    parser.add_argument(
        "--gateway", type=Path, metavar="DIR", help="an environment or checkout to measure instead of ours"
    )
    parser.add_argument("--against", type=Path, metavar="DIR", help="another checkout or environment instead of nginx")
    parser.add_argument(
        "--save",
        action=argparse.BooleanOptionalAction,
        help="write the table to bench/results/; default: for full runs only",
    )
    chosen = parser.parse_args()
    if chosen.rounds is None:
        chosen.rounds = 1 if chosen.quick else 3
    if chosen.seconds is None:
        chosen.seconds = 1.3 if chosen.quick else 2.5
    if not (1 <= chosen.rounds <= 50 and 0.2 <= chosen.seconds <= 30):
        parser.error("1 to 50 rounds of 0.2 to 30 seconds")
    if chosen.save is None:
        chosen.save = not (chosen.quick or chosen.only or chosen.against)
    return chosen


def chosen_targets(chosen: argparse.Namespace) -> dict[str, targets.Prepare]:
    """The gateway and what it is compared with; the first name after it is the base of the first table."""
    others: dict[str, targets.Prepare] = (
        {"before": targets.gateway_of(chosen.against)} if chosen.against else {"nginx": targets.nginx}
    )
    if chosen.litellm:
        others["litellm"] = targets.litellm
    ours = targets.gateway_of(chosen.gateway) if chosen.gateway else targets.this_gateway()
    return {"gateway": ours, **others}


def chosen_scenarios(chosen: argparse.Namespace) -> list[Scenario]:
    if chosen.only:
        return [scenario for scenario in SCENARIOS if scenario.name in chosen.only]
    return [scenario for scenario in SCENARIOS if chosen.litellm or scenario.litellm != "only"]


def run(chosen: argparse.Namespace, scenarios: list[Scenario]) -> Results:
    programs = build()
    allow_many_files()
    cores = take_cores()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with running_stub(programs.stub, cores.load, folder / "stub") as (port, pid):
            load = Load(programs.loadgen, pid, chosen.seconds)
            return Bench(chosen_targets(chosen), load, port, cores, folder).run(scenarios, chosen.rounds)


def report(chosen: argparse.Namespace, scenarios: list[Scenario], results: Results) -> str:
    bases = [name for name in chosen_targets(chosen) if name != "gateway"]
    parts = [f"# Bench of {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC\n", machine(chosen)]
    for base in bases:
        parts.append(table(results, scenarios, "gateway", base, with_goals=base == "nginx"))
    return "\n".join([*parts, remarks(results)])


def machine(chosen: argparse.Namespace) -> str:
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in cpuinfo if line.startswith("model name")]
    memory_kb = int(Path("/proc/meminfo").read_text().split()[1])
    cpu = models[0] if models else platform.machine()
    root = str(targets.ROOT)
    commit = _output("git", "-C", root, "rev-parse", "--short", "HEAD") or "unknown"
    changed = " with changes" if _output("git", "-C", root, "status", "--porcelain", "src") else ""
    nginx = _output(targets.find_nginx(), "-v").rpartition("/")[2]
    kernel = ".".join(platform.release().split(".")[:2])
    versions = f"Python {platform.python_version()}, nginx {nginx}"
    return (
        f"Gateway at {commit}{changed}. {cpu}, {len(models)} cores, {memory_kb // 1024 // 1024} GB,"
        f" Linux {kernel}, {versions}.\n"
        f"{chosen.rounds} interleaved round(s), {chosen.seconds:g} s per load: median (least..greatest);"
        " a ratio is the median of the ratios of the rounds.\n"
    )


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).strip() if done.returncode == 0 else ""


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    chosen = arguments()
    scenarios = chosen_scenarios(chosen)
    try:
        text = report(chosen, scenarios, run(chosen, scenarios))
    except BenchError as error:
        sys.exit(f"bench: {error}")
    print("\n" + text)
    if chosen.save:
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{time.strftime('%Y-%m-%d-%H%M', time.gmtime())}.md"
        path.write_text(text)
        print(f"written to {path.relative_to(targets.ROOT)}")


if __name__ == "__main__":
    main()
