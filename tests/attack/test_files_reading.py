"""Files that are empty, cut or half written while keys are asked for: nobody without one comes in, and nothing half is
in force."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator

import pytest
from tests.attack.guarded import Guarded, eventually, guarded, made
from tests.attack.table import Tried
from tests.flow.waiting import until
from tests.flow.world import World

from ai_gateway.auth.keys_file import write_entries

EMPTIES = (
    b"",
    b" \n\t\n",
    b"# nothing\n",
    b"null\n",
    b"~",
    b"---\n",
    b"{}\n",
    b"...\n",
    b"\xef\xbb\xbf",
    b"\0",
    b"--- # x\n...\n",
)


@pytest.fixture
async def gate(world: World) -> AsyncIterator[Guarded]:
    """A gateway that asks for keys."""
    async with guarded(world) as found:
        yield found


@pytest.mark.attack("files", "a config.yml in force that is emptied in place, in every way, and mended again")
async def test_an_emptied_config_is_refused(gate: Guarded, tried: Tried) -> None:
    for content in EMPTIES:
        gate.path.write_bytes(content)
        told = await gate.reload(is_good=False)
        assert told["complaints"], content
        assert await gate.call() == 200
        gate.exchange(gate.path, gate.content)
        await gate.reload(is_good=True)
    tried.times = len(EMPTIES)
    tried.figure(f"{len(gate.answers)} anonymous calls meanwhile, none let in")


@pytest.mark.attack("files", "a config.yml that is exchanged for an empty one")
async def test_an_empty_config_in_its_place_is_refused(gate: Guarded) -> None:
    gate.exchange(gate.path, "# nothing\n")
    told = await gate.reload(is_good=False)
    assert "empty" in told["complaints"][0]["message"]
    assert (await gate.admin("/metrics")).body.count(b"ai_gateway_config_last_reload_successful 0") == 1


@pytest.mark.attack("files", "an editor that writes the unchanged config slowly in place")
@pytest.mark.parametrize("gap", [0.03, 0.3])
async def test_a_slow_editor(gate: Guarded, tried: Tried, gap: float) -> None:
    size = len(gate.content) // (20 if gap > 0.1 else 60) + 1
    with gate.path.open("w") as file:
        await asyncio.sleep(gap)
        for start in range(0, len(gate.content), size):
            file.write(gate.content[start : start + size])
            file.flush()
            await asyncio.sleep(gap)
    await asyncio.sleep(2)
    assert (gate.times("reloaded"), gate.times("refused")) == (0, 0)
    assert (await gate.told())["last_reload"] == "ok"
    tried.figure(f"{len(gate.answers)} anonymous calls meanwhile, none let in")


@pytest.mark.attack(
    "files", "60 saves, each truncates and writes, with a gap of 30 ms between the two and between saves"
)
async def test_sixty_saves(gate: Guarded, tried: Tried) -> None:
    for number in range(60):
        gate.path.write_text("")
        await asyncio.sleep(0.03)
        gate.path.write_text(f"{gate.content}# {number}\n")
        await asyncio.sleep(0.03)
    before = gate.times("reloaded")
    digest = (await gate.told())["hash"]

    async def is_new() -> bool:
        return bool((await gate.told())["hash"] != digest)

    await eventually(is_new)
    assert (before, gate.times("reloaded"), gate.times("refused")) == (0, 1, 0)
    tried.times = 60


@pytest.mark.attack("files", "a config.yml that is removed and made anew in pieces")
async def test_a_file_that_is_made_anew_slowly(gate: Guarded) -> None:
    """As some tools copy: another file, and written in its place."""
    for is_seen in (False, True):
        gate.path.unlink()
        await asyncio.sleep(1.2 if is_seen else 0)
        with gate.path.open("w") as file:
            for line in gate.content.splitlines(keepends=True):
                file.write(line)
                file.flush()
                await asyncio.sleep(0.1)
        await asyncio.sleep(1.5)
        assert gate.times("reloaded") == int(is_seen)
        assert (await gate.told())["last_reload"] == "ok"


KILLED = (
    "import sys, time; f = open(sys.argv[1], 'w'); f.write(sys.argv[2]); f.flush(); print(1, flush=1); time.sleep(60)"
)


@pytest.mark.attack("files", "an editor that is killed hard half-way through the section auth")
async def test_a_writer_that_is_killed(gate: Guarded, tried: Tried) -> None:
    cuts = range(1, gate.content.index("/"), 9)
    for cut in cuts:
        writer = await asyncio.create_subprocess_exec(
            sys.executable, "-c", KILLED, str(gate.path), gate.content[:cut], stdout=asyncio.subprocess.PIPE
        )
        assert writer.stdout is not None
        await writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        await writer.wait()
        await gate.reload(is_good=False)
        assert await gate.call() == 200
        gate.exchange(gate.path, gate.content)
        await gate.reload(is_good=True)
    tried.times = len(cuts)


@pytest.mark.attack("files", "a config.yml that is exchanged: in force at once")
async def test_an_exchanged_file_is_in_force_at_once(gate: Guarded, tried: Tried) -> None:
    taken = []
    for number in range(10):
        gate.exchange(gate.path, f"{gate.content}# {number}\n")
        taken.append(await until(lambda number=number: gate.times("reloaded") == number + 1))  # type: ignore[misc]  # its own
    tried.times = 10
    tried.figure(f"in force after {max(taken):.1f} s at most")


@pytest.mark.attack("files", "a ConfigMap that is mounted, its link swapped to good, empty and cut content")
async def test_a_mounted_config_map(world: World) -> None:
    async with guarded(world) as gate:
        content = gate.content
    folder = world.folder / "mount"
    folder.mkdir()

    def swap(number: int, text: str) -> None:
        (folder / f"..{number}").mkdir()
        (folder / f"..{number}" / "config.yml").write_text(text)
        (folder / "..data_tmp").symlink_to(f"..{number}")
        (folder / "..data_tmp").rename(folder / "..data")

    swap(0, content)
    (folder / "config.yml").symlink_to("..data/config.yml")
    async with guarded(world, "--config", str(folder)) as gate:
        for number, text in enumerate(("", content[:20], "models: {}\nauth: {methods: [keys}", "null"), 1):
            swap(10 * number, text)
            await gate.reload(is_good=False)
            swap(10 * number + 1, content)
            await gate.reload(is_good=True)


@pytest.mark.attack("files", "a keys file that is emptied, cut at each line, half written, away and no file")
async def test_a_keys_file_that_is_not_whole(gate: Guarded, tried: Tried) -> None:
    """The key works on, and a revoked one is not revived by a file that lacks the line that revokes it."""
    revoked, entry = made("revoked", revoked="2020-01-01T00:00:00Z")
    whole = write_entries((gate.entry, entry))
    gate.keys_path.write_text(whole)
    lines = whole.splitlines(keepends=True)
    states = ["".join(lines[:count]) for count in range(len(lines))] + [whole[:-9], "{}", "keys:", "keys: ["]
    for state in states:
        gate.keys_path.write_text(state)
        await asyncio.sleep(0.2)
        assert (await gate.call(), await gate.call(revoked)) == (200, 401)
    gate.keys_path.unlink()
    for spoil in (os.mkfifo, os.mkdir):
        spoil(gate.keys_path)
        await asyncio.sleep(1.2)
        assert await gate.call() == 200
        gate.keys_path.rename(gate.keys_path.with_name(spoil.__name__))
    tried.times = len(states) + 2


@pytest.mark.attack("files", "a key that is taken out of its file, exchanged or written in place")
async def test_a_revoked_key_is_over_soon(gate: Guarded, tried: Tried) -> None:
    figures = []
    for is_exchanged in (True, False):
        other, entry = made("other")

        async def is_known(key: str = other) -> bool:
            return await gate.call(key) == 200

        async def is_over(key: str = other) -> bool:
            return await gate.call(key) == 401

        gate.exchange(gate.keys_path, write_entries((gate.entry, entry)))
        await eventually(is_known)
        await asyncio.sleep(1.2)
        if is_exchanged:
            gate.exchange(gate.keys_path, write_entries((gate.entry,)))
        else:
            gate.keys_path.write_text(write_entries((gate.entry,)))
        figures.append(f"{await eventually(is_over, 5):.1f} s")
    tried.times = 2
    tried.figure(" and ".join(figures))
