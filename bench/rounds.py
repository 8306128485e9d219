"""Rounds: every scenario against every target in turn, so that a noisy minute hits all alike."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.processes import Cores
from bench.scenarios import Load, Sample, Scenario, measure, measure_fresh
from bench.targets import Prepare, Server, ask_once, serving

DIRECT = "direct"


@dataclass(slots=True)
class Results:
    """What was measured, by scenario and target, one sample a round. Grows while the rounds run."""

    samples: dict[tuple[str, str], list[Sample]] = field(default_factory=dict)

    def add(self, scenario: str, target: str, sample: Sample) -> None:
        self.samples.setdefault((scenario, target), []).append(sample)

    def values(self, scenario: str, target: str, figure: str) -> list[float]:
        return [s[figure] for s in self.samples.get((scenario, target), []) if figure in s]

    def broken(self, scenario: str, target: str) -> float:
        """Answers that were wrong, cut off or too late, in all rounds."""
        samples = self.samples.get((scenario, target), [])
        return sum(sample["failed"] + sample["unfinished"] for sample in samples)

    def ratios(self, scenario: str, figure: str, target: str, base: str) -> list[float]:
        """Round by round: the two sides of one ratio were measured within seconds of each other."""
        pairs = zip(self.samples.get((scenario, target), []), self.samples.get((scenario, base), []), strict=False)
        return [a[figure] / b[figure] for a, b in pairs if figure in a and b.get(figure, 0) > 0]


@dataclass(slots=True)
class Bench:
    """One run: the targets by name, what loads them, and a folder for all they write."""

    targets: Mapping[str, Prepare]
    load: Load
    stub_port: int
    cores: Cores
    folder: Path
    starts: int = 0

    @contextmanager
    def started(self, name: str) -> Iterator[Server]:
        self.starts += 1
        folder = self.folder / f"{name}-{self.starts}"
        folder.mkdir()
        with serving(self.targets[name](self.stub_port, folder), self.cores.target, folder) as server:
            yield server

    def run(self, scenarios: Sequence[Scenario], rounds: int) -> Results:
        results = Results()
        with ExitStack() as stack:
            servers = {DIRECT: Server(self.stub_port, [], 0.0)}
            if any(not scenario.needs_fresh_process for scenario in scenarios):
                servers |= {name: stack.enter_context(self.started(name)) for name in self.targets}
            for server in servers.values():
                ask_once(server.port)
            for number in range(rounds):
                for scenario in scenarios:
                    self._round(scenario, number, servers, results)
        return results

    def _round(self, scenario: Scenario, number: int, servers: Mapping[str, Server], results: Results) -> None:
        names = [DIRECT, *self.targets]
        if scenario.needs_fresh_process:
            names.remove(DIRECT)
        if scenario.litellm == "never" and "litellm" in names:
            names.remove("litellm")
        turn = number % len(names)
        line = []
        measured = {}
        for name in names[turn:] + names[:turn]:
            measured[name] = self._measure(scenario, name, servers)
            line.append(f"{name} {_short(measured[name])}")
        for name, sample in measured.items():
            if "p50_ms" in sample and "p50_ms" in measured.get(DIRECT, {}):
                sample["added_p50_ms"] = sample["p50_ms"] - measured[DIRECT]["p50_ms"]
            results.add(scenario.name, name, sample)
        print(f"round {number + 1}, {scenario.title}: {' | '.join(line)}", flush=True)

    def _measure(self, scenario: Scenario, name: str, servers: Mapping[str, Server]) -> Sample:
        if not scenario.needs_fresh_process:
            return measure(self.load, scenario, servers[name].port, servers[name].pids)
        with self.started(name) as server:
            return measure_fresh(self.load, scenario, server)


def _short(sample: Sample) -> str:
    shown = {
        "cpu_us": "{:.0f} us",
        "p50_ms": "p50 {:.2f} ms",
        "delivered_percent": "{:.1f} %",
        "ready_ms": "ready {:.0f} ms",
        "idle_mb": "{:.0f} MB",
        "stream_kb": "{:.1f} KB/stream",
    }
    return ", ".join(text.format(sample[figure]) for figure, text in shown.items() if figure in sample)
