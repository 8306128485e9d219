"""The figures of the table, each measured with a fleet of its own."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bench.rollouts.fleet import WRITES, Fleet, Shape
from bench.rollouts.load import Load, failed, p95

ONE = {"ollama": "coder", "version": "v1", "pull": "if_missing"}
TWO = ONE | {"version": "v2"}


class Row(NamedTuple):
    """One line of the table."""

    figure: str
    measured: str
    goal: str


@asynccontextmanager
async def fleet(shape: Shape, models: dict[str, Any], count: int = 3, **reconcile: Any) -> AsyncIterator[Fleet]:
    """A running one, with v1 loaded everywhere."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-rollouts-")))
        made = Fleet(folder, stack, shape)
        await made.start(models, count, **reconcile)
        if "coder" in models:
            await asyncio.gather(*(made.load("coder:v1", number) for number in range(shape.endpoints)))
            await asyncio.sleep(3)  # polls have seen it
        yield made


async def with_room(seconds: float) -> list[Row]:
    """A new version while calls come and streams are open; and how soon it gets its first call."""
    async with fleet(Shape(), {"coder": ONE}) as made:
        return await _changed(made, seconds, Traffic("room for both", 50, 100, "0 failed, 0 cold, <= 1.2x"))


async def without_room(seconds: float) -> list[Row]:
    """The same where an endpoint takes one model at a time, at half load."""
    shape = Shape(slots=8, rooms=1)
    async with fleet(shape, {"coder": ONE}) as made:
        return await _changed(made, seconds, Traffic("no room, half load", 8, 12, "0 failed, 0 cold, <= 2x"))


class Traffic(NamedTuple):
    """What runs while a version changes."""

    title: str
    per_second: float
    streams: int
    goal: str


async def _changed(made: Fleet, seconds: float, traffic: Traffic) -> list[Row]:
    load, title, goal = Load(made.gateways, traffic.per_second, traffic.streams), traffic.title, traffic.goal
    await asyncio.sleep(seconds)
    watch = asyncio.create_task(_first_calls(made))
    edited_at = made.edit({"coder": TWO})
    await _until_version(made, "v2")
    await made.until_done()
    done_seconds = time.monotonic() - edited_at
    await asyncio.sleep(5)
    ended_at = time.monotonic()
    await load.end()
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
    before = [one for one in load.answers if edited_at - seconds / 2 <= one.at < edited_at]
    during = [one for one in load.answers if edited_at <= one.at < ended_at]
    cold = await made.total("cold")
    slowest = {uid: max((one.first_seconds for one in during if one.uid == uid), default=0) for uid in ("a", "sidecar")}
    rows = [
        Row(f"{title}: failed, cold", f"{failed(load.answers)} of {len(load.answers)}, {cold}", goal),
        Row(
            f"{title}: p95 to first token, before and meanwhile",
            f"{p95(before):.0f} ms, {p95(during):.0f} ms: {p95(during) / max(p95(before), 1):.2f}x",
            goal,
        ),
        Row(f"{title}: slowest call", ", ".join(f"{uid} {at:.1f} s" for uid, at in slowest.items()), "one load"),
        Row(f"{title}: all endpoints done", f"{done_seconds:.1f} s", ""),
    ]
    found = sorted(_SEEN.pop(made, {}).values())
    if found:
        rows.append(Row(f"{title}: loaded to first call", f"{found[0]:.2f} to {found[-1]:.2f} s", "<= 2.4 s"))
    return rows


_SEEN: dict[Fleet, dict[int, float]] = {}


async def _first_calls(made: Fleet) -> None:
    """Notes for each endpoint how long its new version was loaded before a call ran there."""
    loaded: dict[int, float] = {}
    found = _SEEN.setdefault(made, {})
    old = {model["name"] for state in await made.states() for model in state["models"]}
    while True:
        for number, state in enumerate(await made.states()):
            new = [model for model in state["models"] if model["is_loaded"] and model["name"] not in old]
            if new:
                loaded.setdefault(number, time.monotonic())
            if new and new[0]["running"] and number not in found:
                found[number] = time.monotonic() - loaded[number]
        await asyncio.sleep(0.05)


async def shaped(_seconds: float) -> list[Row]:
    """Another system message loads nothing."""
    async with fleet(Shape(), {"coder": ONE}) as made:
        loads = await made.total("loads")
        began_at = made.edit({"coder": ONE | {"system": "You answer with code."}})
        await _until_asked(made, "/api/create", made.shape.endpoints)
        await made.until_done()
        seconds = time.monotonic() - began_at
        measured = f"{await made.total('loads') - loads} loads, {seconds:.1f} s"
        return [Row("system changed: loads, all endpoints", measured, "no load, <= 15 s")]


async def rolled_back(_seconds: float) -> list[Row]:
    """Back to the version before."""
    async with fleet(Shape(), {"coder": ONE}) as made:
        made.edit({"coder": TWO})
        await _until_asked(made, "/api/pull", made.shape.endpoints)
        await made.until_done()
        pulls = await made.asked("/api/pull")
        began_at = made.edit({"coder": ONE})
        await _until_version(made, "v1")
        await made.until_done(lambda done: done > 0)
        first = time.monotonic() - began_at
        await made.until_done()
        measured = (
            f"{await made.asked('/api/pull') - pulls} pulls, {first:.1f} s, all {time.monotonic() - began_at:.1f} s"
        )
        return [Row("rollback: pulls, first endpoint", measured, f"no pull, <= {made.shape.load_seconds + 15:g} s")]


async def _until_asked(made: Fleet, path: str, count: int) -> None:
    async def is_asked() -> bool:
        return await made.asked(path) >= count

    await made.until(is_asked, f"{count} calls to {path}")


async def _until_version(made: Fleet, version: str) -> None:
    async def is_there() -> bool:
        return (await made.shown(made.gateways[0])).get("version") == version

    await made.until(is_there, f"version {version} is in force")


async def leader_killed(_seconds: float) -> list[Row]:
    """In the middle of the first pull."""
    async with fleet(Shape(pull_bytes_per_second=2e8), {"coder": ONE}) as made:
        size = 1_600_000_000
        await made.control(0, "registry", {"name": "coder:v2", "content": "two", "size": size})
        made.edit({"coder": TWO})
        await made.until(lambda: made.total("partial_bytes"), "the pull has begun")
        await asyncio.sleep(2)
        killed_at = await made.kill_leader()
        await _until_asked(made, "/api/pull", 2)
        seconds = time.monotonic() - killed_at
        await made.until_done()
        most = max(state["downloaded_bytes"] for state in await made.states())
        measured = f"goes on after {seconds:.1f} s, {most / size:.2f} of the size is downloaded at most"
        return [Row("leader killed in a pull", measured, "<= 5 s, nothing twice")]


async def twenty_edits(_seconds: float) -> list[Row]:
    """One after the other, each a second after the last."""
    async with fleet(Shape(pull_bytes_per_second=1e9), {"coder": ONE}, prune="2s") as made:
        for number in range(20):
            made.edit({"coder": ONE | {"version": f"x{number}"}}, prune="2s")
            await asyncio.sleep(1)
        began_at = time.monotonic()
        await _until_version(made, "x19")
        await made.until_done()
        seconds = time.monotonic() - began_at
        await asyncio.sleep(8)
        disks = [[one["name"] for one in state["disk"]] for state in await made.states()]
        names = max(sum(name.startswith("ai-gateway-") for name in disk) for disk in disks)
        tags = max(sum(name.startswith("coder:x") for name in disk) for disk in disks)
        whole = max(state["downloaded_bytes"] / 4_200_000_000 for state in await made.states())
        measured = (
            f"{whole:.1f} versions downloaded on an endpoint at most, {names} made names and {tags} tags left, "
            f"the last is everywhere {seconds:.1f} s later, {await made.total('cold')} cold"
        )
        return [Row("20 edits, a second apart", measured, "<= 20 versions, <= 2 names")]


async def at_rest(seconds: float) -> list[Row]:
    """16 endpoints with 20 models each: what the gateways use more than without `pull`, and what they write."""
    names = [f"model{number}:v1" for number in range(20)]
    shares: dict[str, list[float]] = {}
    for pull in ("never", "if_missing"):
        models = {name.partition(":")[0]: {"version": "v1", "pull": pull} for name in names}
        async with fleet(Shape(endpoints=16, models=names), models, pull="never") as made:
            await asyncio.sleep(8)
            before = [gateway.cpu_seconds() for gateway in made.gateways]
            await asyncio.sleep(seconds * 2)
            after = [gateway.cpu_seconds() for gateway in made.gateways]
            shares[pull] = [(late - early) / seconds / 2 for early, late in zip(before, after, strict=True)]
            writes = await made.asked(*WRITES)
    uses = "; ".join(f"{pull}: {', '.join(f'{share:.1%}' for share in found)}" for pull, found in shares.items())
    return [Row("at rest: CPU of leader, other, sidecar; writes", f"{uses}; {writes} writes", "<= 1 % more, none")]


SCENARIOS: dict[str, Callable[[float], Awaitable[list[Row]]]] = {
    "room": with_room,
    "no-room": without_room,
    "system": shaped,
    "rollback": rolled_back,
    "leader": leader_killed,
    "edits": twenty_edits,
    "rest": at_rest,
}
