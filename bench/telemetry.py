"""`python -m bench.telemetry`: what traces, metrics, access lines and the audit cost, as differences within rounds."""

import argparse
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import targets
from bench.__main__ import RESULTS, machine
from bench.build import BenchError, build
from bench.processes import allow_many_files, resident_kb, running, running_stub, take_cores
from bench.scenarios import SCENARIOS, Load, Scenario, measure
from bench.targets import Launch, Prepare, Server, ask_once, gateway, serving

CHOSEN = ("many", "one", "open", "paced")
PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class Question:
    """A figure of one variant beside another: a ratio, or the difference `dear` - `cheap`."""

    title: str
    scenario: str
    dear: str
    cheap: str
    limit: float
    is_ratio: bool = False


QUESTIONS = (
    Question("every request traced, CPU per request, 32 connections", "many", "traced", PLAIN, 3.5, True),
    Question("every request traced, CPU per request, 1 connection", "one", "traced", PLAIN, 3.5, True),
    Question("every request traced, CPU per request, 500 a second", "open", "traced", PLAIN, 3.5, True),
    Question("1 % of requests traced, CPU per request, 32 connections", "many", "sampled", PLAIN, 3.5, True),
    Question("every request traced, CPU per chunk, 100 streams", "paced", "traced", PLAIN, 1.1, True),
    Question("metrics of requests, us per request", "many", PLAIN, "uncounted", 10),
    Question("access line, us per request", "many", PLAIN, "unlogged", 15),
    Question("audit, us per request", "many", PLAIN, "unaudited", 40),
)


@dataclass(slots=True)
class Figures:
    """CPU per answer or event, by scenario and variant, one a round; memory by variant. Grows with the rounds."""

    cpu_us: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    resident_mb: dict[str, float] = field(default_factory=dict)  # after a first call
    loaded_mb: dict[str, float] = field(default_factory=dict)  # after all of them
    spans: dict[str, float] = field(default_factory=dict)

    def differences(self, question: Question) -> list[float]:
        """Round by round."""
        dear = self.cpu_us[question.scenario, question.dear]
        cheap = self.cpu_us[question.scenario, question.cheap]
        pairs = zip(dear, cheap, strict=True)
        return [one / other if question.is_ratio else one - other for one, other in pairs]


def variants(command: list[str], collector: int) -> dict[str, Prepare]:
    """One gateway, told and untold. `command` starts it, in an environment as users have it."""
    traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector}"}
    sampled = {**traced, "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"}
    python = str(Path(command[0]).parent / "python")
    uncounted = {"PYTHONPATH": str(targets.ROOT)}
    return {
        PLAIN: gateway(command, {}),
        "traced": gateway(command, traced),
        "sampled": gateway(command, sampled),
        "uncounted": gateway([python, "-m", "bench.without_metrics"], uncounted),
        "unlogged": gateway(command, {}, "log: {access: false}\n"),
        "unaudited": gateway(command, {}, "audit: {store: none}\n"),
    }


@contextmanager
def collecting(core: int, folder: Path) -> Iterator[int]:
    """The collector's port."""
    folder.mkdir()
    command = [sys.executable, "-m", "bench.collector"]
    with running(command, core, folder, {"PYTHONPATH": str(targets.ROOT)}):
        for _ in range(500):
            words = (folder / "output").read_text().split()
            if len(words) == 2:
                yield int(words[1])
                return
            time.sleep(0.01)
        raise BenchError("the collector does not start")


def run(command: list[str], rounds: int, seconds: float) -> Figures:
    programs = build()
    allow_many_files()
    cores = take_cores()
    figures = Figures()
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as stack:
        folder = Path(name)
        port, pid = stack.enter_context(running_stub(programs.stub, cores.load, folder / "stub"))
        collector = stack.enter_context(collecting(cores.load, folder / "collector"))
        load = Load(programs.loadgen, pid, seconds)
        servers: dict[str, Server] = {}
        launches: dict[str, Launch] = {}
        for variant, prepare in variants(command, collector).items():
            own = folder / variant
            own.mkdir()
            launches[variant] = prepare(port, own)
            servers[variant] = stack.enter_context(serving(launches[variant], cores.target, own))
            ask_once(servers[variant].port)
        time.sleep(1)
        rest = {variant: resident_kb(server.pids) / 1024 for variant, server in servers.items()}
        for number in range(rounds):
            for scenario in (one for one in SCENARIOS if one.name in CHOSEN):
                _round(scenario, number, load, servers, figures)
        figures.resident_mb = rest
        figures.loaded_mb = {variant: resident_kb(server.pids) / 1024 for variant, server in servers.items()}
        figures.spans = _spans(launches["traced"].ready_port)
    return figures


def _round(scenario: Scenario, number: int, load: Load, servers: Mapping[str, Server], figures: Figures) -> None:
    names = list(servers)
    turn = number % len(names)
    said = []
    for name in names[turn:] + names[:turn]:
        sample = measure(load, scenario, servers[name].port, servers[name].pids)
        if sample["failed"] or "cpu_us" not in sample:
            raise BenchError(f"{name}, {scenario.title}: calls failed")
        figures.cpu_us.setdefault((scenario.name, name), []).append(sample["cpu_us"])
        said.append(f"{name} {sample['cpu_us']:.1f}")
    print(f"round {number + 1}, {scenario.title}: {' | '.join(said)}", flush=True)


def _spans(admin_port: int) -> dict[str, float]:
    """What became of the spans, by the gateway's own count, when all are on their way."""
    time.sleep(6)
    with urllib.request.urlopen(f"http://127.0.0.1:{admin_port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    counted = (line for line in lines if line.startswith("ai_gateway_spans_total{"))
    return {line.partition('"')[2].partition('"')[0]: float(line.rpartition(" ")[2]) for line in counted}


def report(figures: Figures, chosen: argparse.Namespace) -> str:
    rows = ["| what | median (least..greatest) | goal | reached |", "|---|---|---|---|"]
    for question in QUESTIONS:
        found = figures.differences(question)
        middle = statistics.median(found)
        digits, unit = (2, "x") if question.is_ratio else (1, " us")
        shown = f"{middle:.{digits}f}{unit} ({min(found):.{digits}f}..{max(found):.{digits}f})"
        rows.append(f"| {question.title} | {shown} | <= {question.limit:g}{unit} | {_word(middle <= question.limit)} |")
    for when, megabytes in (("after a first call", figures.resident_mb), ("after the load", figures.loaded_mb)):
        more = megabytes["traced"] - megabytes[PLAIN]
        total = f"{megabytes[PLAIN]:.1f} to {megabytes['traced']:.1f} MB"
        rows.append(f"| tracing, RSS {when} | +{more:.1f} MB ({total}) | <= +15 MB | {_word(more <= 15)} |")
    sums = ", ".join(
        f"{statistics.median(values):.0f} {name} {scenario}" for (scenario, name), values in figures.cpu_us.items()
    )
    kept = ", ".join(f"{count:.0f} {result}" for result, count in figures.spans.items())
    head = f"# Cost of telemetry, {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC\n\n{machine(chosen)}"
    return "\n".join([head, *rows, "", f"Spans of the traced gateway: {kept}.", "", f"Medians, us: {sums}.", ""])


def _word(is_reached: bool) -> str:
    return "yes" if is_reached else "**no**"


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.telemetry", description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--gateway", type=Path, metavar="DIR", help="another environment")
    parser.add_argument("--save", action="store_true", help="write the table to bench/results/")
    chosen = parser.parse_args()
    programs = (chosen.gateway / "bin").resolve() if chosen.gateway else Path(sys.executable).parent
    try:
        text = report(run([str(programs / "ai-gateway")], chosen.rounds, chosen.seconds), chosen)
    except BenchError as error:
        sys.exit(f"bench: {error}")
    print("\n" + text)
    if chosen.save:
        path = RESULTS / f"telemetry-{time.strftime('%Y-%m-%d-%H%M', time.gmtime())}.md"
        path.write_text(text)
        print(f"written to {path.relative_to(targets.ROOT)}")


if __name__ == "__main__":
    main()
