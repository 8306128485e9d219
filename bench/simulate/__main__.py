"""`python -m bench.simulate`: compares policies in simulated worlds, and writes a table and pictures."""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from bench.simulate.experiment import Results, experiment
from bench.simulate.plots import curves, intervals
from bench.simulate.policies import POLICIES
from bench.simulate.table import details, overview
from bench.simulate.worlds import VARIANTS, WORLDS, World, varied

RESULTS: Final = Path(__file__).parents[1] / "results"
ROOT: Final = Path(__file__).parents[2]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench.simulate", description=__doc__)
    parser.add_argument("--worlds", type=_names(WORLDS), default=tuple(WORLDS), help="default: all of A,B,C,D,E")
    parser.add_argument("--policies", type=_names(POLICIES), default=tuple(POLICIES), help=", ".join(POLICIES))
    parser.add_argument("--base", choices=POLICIES, default="late", help="what ratios are of; default late")
    parser.add_argument("--seeds", type=_seeds, default=tuple(range(10)), help="how many, or FIRST..LAST; default 10")
    parser.add_argument("--variant", action="append", choices=VARIANTS, default=[], help="may be repeated; all apply")
    parser.add_argument("--slots", type=int, help="OLLAMA_NUM_PARALLEL instead of the world's")
    parser.add_argument("--places", type=int, help="OLLAMA_MAX_LOADED_MODELS instead of the world's")
    parser.add_argument("--gateways", type=int, help="instead of 1")
    parser.add_argument("--era", choices=("0.33", "0.24"), help="which Ollama's /api/ps; default 0.33")
    parser.add_argument("--rate", type=float, default=1.0, help="calls a second, times so many")
    parser.add_argument("--seconds", type=float, help="simulated; default 1500")
    parser.add_argument("--processes", type=int, default=1, help="at a time; default 1")
    parser.add_argument("--save", metavar="NAME", help="write bench/results/NAME-<date>.md and its pictures")
    return parser


def chosen_worlds(chosen: argparse.Namespace) -> list[World]:
    """The worlds with all that was asked for."""
    worlds = []
    for name in chosen.worlds:
        world = varied(WORLDS[name], tuple(chosen.variant))
        given = {key: getattr(chosen, key) for key in ("slots", "places", "gateways", "era", "seconds")}
        changes = {key: value for key, value in given.items() if value is not None}
        if chosen.rate != 1.0:
            changes["calls_per_second"] = world.calls_per_second * chosen.rate
        named = [
            world.name,
            *(f"{key} {value:g}" if key != "era" else f"era {value}" for key, value in changes.items()),
        ]
        worlds.append(replace(world, name=", ".join(named).replace("calls_per_second", "calls/s"), **changes))
    return worlds


def report(chosen: argparse.Namespace, worlds: Sequence[World], results: Results, pictures: Sequence[Path]) -> str:
    """The page of a run."""
    parts = [_heading(chosen, results), overview(results, worlds, chosen.policies, chosen.base)]
    for world in worlds:
        parts += [f"## {world.name}\n", f"{_described(world)}\n", details(results, world, chosen.policies)]
    parts += [f"![{path.stem}]({path.name})\n" for path in pictures]
    return "\n".join(parts)


def write_pictures(chosen: argparse.Namespace, worlds: Sequence[World], results: Results, stem: str) -> list[Path]:
    """All pictures of a run: one of all worlds, one of each."""
    texts = {f"{stem}.svg": intervals(results, worlds, chosen.policies)}
    for number, world in enumerate(worlds):
        texts[f"{stem}-{number}-{world.name[0]}.svg"] = curves(results, world, chosen.policies)
    for name, text in texts.items():
        (RESULTS / name).write_text(text)
    return [RESULTS / name for name in texts]


def main() -> None:
    """Runs, prints and writes."""
    chosen = parser().parse_args()
    if chosen.base not in chosen.policies:
        chosen.base = chosen.policies[0]
    worlds = chosen_worlds(chosen)
    results = experiment(
        worlds, chosen.policies, chosen.seeds, chosen.processes, lambda line: print(line, file=sys.stderr, flush=True)
    )
    pictures: list[Path] = []
    stem = f"{chosen.save}-{time.strftime('%Y-%m-%d-%H%M', time.gmtime())}"
    if chosen.save:
        RESULTS.mkdir(exist_ok=True)
        pictures = write_pictures(chosen, worlds, results, stem)
    text = report(chosen, worlds, results, pictures)
    print(text)
    if chosen.save:
        (RESULTS / f"{stem}.md").write_text(text)


def _heading(chosen: argparse.Namespace, results: Results) -> str:
    commit = subprocess.run(
        ("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"), capture_output=True, text=True, check=False
    ).stdout.strip()
    return (
        f"# Simulation of {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC\n\n"
        f"At {commit or 'an unknown commit'}, {len(results.seeds)} seed(s), {results.runs} runs, "
        f"{results.cpu_seconds:.0f} s of CPU. Seconds from a call's arrival to its first token, 95th percentile: "
        f'geometric mean over the seeds; x is the ratio to "{POLICIES[chosen.base].title}", paired by seed, with its '
        "95 % interval. Calls without a first token count with their age at the end.\n"
    )


def _described(world: World) -> str:
    slow = f", {world.slow_pods} of them {world.slowness:g} times slower" if world.slow_pods else ""
    return (
        f"{world.pods} pods{slow}, {world.places} place(s), {world.slots} slot(s), {world.models} model(s), "
        f"{world.calls_per_second:g} calls/s, loads of {world.load_seconds:g} s, {world.gateways} gateway(s), "
        f"{world.seconds:g} s as of Ollama {world.era}."
    )


def _names(table: Mapping[str, object]) -> Callable[[str], tuple[str, ...]]:
    """Reads names with commas between, each of a table."""

    def read(text: str) -> tuple[str, ...]:
        names = tuple(name.strip() for name in text.split(",") if name.strip())
        unknown = [name for name in names if name not in table]
        if unknown or not names:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(table)}")
        return names

    return read


def _seeds(text: str) -> tuple[int, ...]:
    first, dots, last = text.partition("..")
    return tuple(range(int(first), int(last) + 1)) if dots else tuple(range(int(text)))


if __name__ == "__main__":
    main()
