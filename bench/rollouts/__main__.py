"""`python -m bench.rollouts`: measures edits of the config under load, and prints a table."""

import argparse
import asyncio

from bench.rollouts.scenarios import SCENARIOS, Row


async def measured(names: list[str], seconds: float) -> list[Row]:
    """The rows of some scenarios, one after the other."""
    rows = []
    for name in names:
        rows += await SCENARIOS[name](seconds)
    return rows


def table(rows: list[Row]) -> str:
    """In markdown."""
    lines = ["| figure | measured | goal |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def main() -> None:
    """Reads the flags, measures, prints."""
    parser = argparse.ArgumentParser(prog="bench.rollouts", description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0, help="of load before an edit, and half of those at rest")
    parser.add_argument("--quick", action="store_true", help="5 seconds, and no measurement at rest")
    parser.add_argument("--only", action="append", choices=list(SCENARIOS), help="this scenario; may be repeated")
    chosen = parser.parse_args()
    names = chosen.only or [name for name in SCENARIOS if not (chosen.quick and name == "rest")]
    print(table(asyncio.run(measured(names, 5.0 if chosen.quick else chosen.seconds))))


if __name__ == "__main__":
    main()
