"""A real gateway that asks for keys, somebody who writes its files, and somebody without a key who tries for ever."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import yaml
from tests.attack.command import Command, serving
from tests.flow.line import Line, Reply
from tests.flow.waiting import soon, until
from tests.flow.world import World, config

from ai_gateway.auth.keys_file import KeyEntry, hash_of, new_key, write_entries

INTRUDER_PAUSE_SECONDS = 0.02


class Guarded:
    """The gateway, its two files as they are good, and what the one without a key has got."""

    def __init__(self, command: Command, folder: Path, key: str, entry: KeyEntry, content: str) -> None:
        self.command = command
        self.path = folder / "config.yml"
        self.keys_path = folder / "keys.yaml"
        self.key = key
        self.entry = entry
        self.content = content
        self.answers: list[int] = []  # to calls without a key

    async def call(self, key: str | None = None, **more: Any) -> int:
        """The status of a call with the key, or with another one."""
        return (await self.command.chat("hi", {"Authorization": f"Bearer {key or self.key}"}, **more)).status

    async def told(self) -> dict[str, Any]:
        """What health says of the config, to whom may see it."""
        reply = await self.command.ask("GET", "/v1/health", headers={"Authorization": f"Bearer {self.key}"})
        found: dict[str, Any] = reply.json["config"]
        return found

    async def reload(self, is_good: bool, seconds: float = 10.0) -> dict[str, Any]:
        """Waits until health says that the last reload was good, or was refused."""
        wanted = "ok" if is_good else "refused"
        told: dict[str, Any] = {}

        async def is_there() -> bool:
            nonlocal told
            told = await self.told()
            return bool(told["last_reload"] == wanted)

        await eventually(is_there, seconds)
        return told

    def exchange(self, path: Path, content: str) -> None:
        """Another file in its place, as careful editors and the command do."""
        new = path.with_name(".new")
        new.write_text(content)
        new.replace(path)

    async def admin(self, path: str) -> Reply:
        """An answer of the admin port."""
        line = await Line.open(self.command.admin_port)
        await line.send("GET", path)
        reply = await soon(line.reply())
        line.leave()
        return reply

    def times(self, words: str) -> int:
        """How often something is in the log."""
        return self.command.log.count(words)

    async def intrude(self) -> None:
        """Without a key, for ever."""
        while True:
            self.answers.append((await self.command.chat("let me in")).status)
            await asyncio.sleep(INTRUDER_PAUSE_SECONDS)


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = 10.0) -> float:
    """Returns once the condition holds, with the seconds that it took."""
    began = asyncio.get_running_loop().time()
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - the condition is another process's
            await asyncio.sleep(INTRUDER_PAUSE_SECONDS)
    return asyncio.get_running_loop().time() - began


def made(name: str, **more: Any) -> tuple[str, KeyEntry]:
    """A key and its entry."""
    key, key_id = new_key()
    return key, msgspec.convert({"id": key_id, "name": name, "hash": hash_of(key.encode()), **more}, KeyEntry)


@asynccontextmanager
async def guarded(
    world: World, *words: str, is_ready: bool = True, cgroup: Path | None = None
) -> AsyncIterator[Guarded]:
    """A gateway with `auth` at the top of its file; if it is not ready at first, the test may give it another file."""
    simulator = await world.simulator()
    key, entry = made("admin", role="admin")
    (world.folder / "keys.yaml").write_text(write_entries((entry,)))
    auth = {"auth": {"methods": ["keys"], "keys_file": str(world.folder / "keys.yaml")}}
    content = yaml.safe_dump({**auth, **config(simulator.urls)}, sort_keys=False)
    async with serving(world.folder, content, *words, cgroup=cgroup) as command:
        if is_ready:
            await command.ready()
        found = Guarded(command, world.folder, key, entry, content)
        intruder = asyncio.create_task(found.intrude())
        try:
            await until(lambda: found.answers)
            yield found
            seen = len(found.answers)
            await until(lambda: len(found.answers) > seen + 1)
            assert not intruder.done(), intruder
            assert set(found.answers) <= ({401} if is_ready else {401, 503})
            assert command.is_alive
            assert "Traceback" not in command.log
        finally:
            intruder.cancel()
            await asyncio.gather(intruder, return_exceptions=True)
