"""`python -m bench.reality`: the warm policy over real and simulated processes; writes tables."""

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.ollama.store import HEAVY

from bench.reality.comparison import CALLS, ROUNDS, SECONDS, compare
from bench.reality.divided import DIVISOR
from bench.reality.pods import PODS, running
from bench.reality.simulated import lived, predicted, table

ROOT: Final = Path(__file__).parents[2]


def on_real_ollamas(folder: Path) -> str:
    """A page of the comparison."""
    with running(folder) as pods:
        comparison = compare(pods, lambda line: print(line, file=sys.stderr, flush=True))
    return (
        f"{PODS} pods of Ollama 0.24.0 with room for one model and one slot each, {len(HEAVY)} models of 0.6 GB whose "
        f"loads take a second and more, {CALLS} calls in {SECONDS:g} s, prompts of some ten tokens, answers of 8. "
        f"Seconds from a call's moment to its first token; {ROUNDS} rounds, each with other calls; shares are of "
        f"medians.\n\n{comparison.table()}\n"
    )


def on_simulated_ones(folder: Path) -> str:
    """A page of the prediction."""
    figures = table(predicted(0), asyncio.run(lived(0, folder)))
    return f"The simulation's world C with times divided by {DIVISOR:g}, over simulated endpoints.\n\n{figures}\n"


def main() -> None:
    """Runs, prints and writes."""
    pages = []
    for page in (on_real_ollamas, on_simulated_ones):
        with tempfile.TemporaryDirectory() as folder:
            pages.append(page(Path(folder)))
    commit = subprocess.run(
        ("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"), capture_output=True, text=True, check=False
    ).stdout.strip()
    moment = time.gmtime()
    head = f"# Processes, {time.strftime('%Y-%m-%d %H:%M', moment)} UTC\n\nAt {commit or 'an unknown commit'}."
    text = "\n\n".join([head, *pages])
    print(text)
    (ROOT / "bench" / "results" / f"reality-{time.strftime('%Y-%m-%d-%H%M', moment)}.md").write_text(text)


if __name__ == "__main__":
    main()
