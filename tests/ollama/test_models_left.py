"""What leaves a real Ollama's disk, and what stays there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from tests.ollama.real import Ollama
from tests.ollama.rollouts import Disk, Rollouts
from tests.ollama.talk import ask, chat, until

pytestmark = pytest.mark.ollama


class Way:
    """A way to an Ollama on which no request to delete gets through: it waits there. `url` is where it begins."""

    def __init__(self, ollama: Ollama) -> None:
        self._port = int(ollama.url.rpartition(":")[2])
        self._ends: list[asyncio.StreamWriter] = []
        self.waits = asyncio.Event()
        self.url = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Way"]:
        """It leads there until the block is left."""
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.url = "http://{}:{}".format(*server.sockets[0].getsockname())
        try:
            yield self
        finally:
            server.close()
            for end in self._ends:
                end.close()
            for end in self._ends:
                with suppress(OSError):
                    await end.wait_closed()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there = await asyncio.open_connection("127.0.0.1", self._port)
        self._ends += (writer, there)
        await asyncio.gather(self._pass_on(reader, there), self._pass_on(there_reader, writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                if data.startswith(b"DELETE "):
                    self.waits.set()
                else:
                    writer.write(data)
        writer.close()


async def test_a_tag_that_a_dead_gateway_pulled_and_copied_is_never_deleted_by_the_next(rollouts: Rollouts) -> None:
    """The next one cannot know who pulled it. It serves the copy that is there."""
    tag = f"{rollouts.registry.name('tiny')}:v1"
    rollouts.publisher.publish(tag)
    (ollama,) = rollouts.ollamas
    disk = Disk(ollama)
    async with Way(ollama).open() as way:
        await rollouts.start({"coder": rollouts.model("tiny", "v1")}, [way.url], prune="1s")
        async with asyncio.timeout(60):
            await way.waits.wait()
        names = disk.names
        (made,) = disk.made
        assert names == {tag, made}
        rollouts.kill()
    await rollouts.start({"coder": rollouts.model("tiny", "v1")}, prune="1s")
    assert (await rollouts.until_in_place("coder", "v1")).name == made
    await chat(rollouts.client, ask("coder", max_tokens=3))
    rollouts.edit({"coder": rollouts.model("tiny", "v1", system="You are a river.")}, prune="1s")

    async def is_derived() -> bool:
        return len(disk.made) == 2

    await until(is_derived)
    rollouts.edit({}, prune="1s")

    async def is_gone() -> bool:
        return not disk.made - disk.loaded.keys()

    await until(is_gone)
    assert tag in disk.names


async def test_what_is_removed_gets_404_at_once_and_goes_from_the_disk_after_a_while(rollouts: Rollouts) -> None:
    """The models of somebody else stay: those with tags, and those of another owner."""
    name = rollouts.registry.name("tiny")
    for tag, weights in (("v1", "A"), ("v2", "B")):
        rollouts.publisher.publish(f"{name}:{tag}", weights)
    disk = Disk(rollouts.ollamas[0])
    await rollouts.start({"coder": rollouts.model("tiny", "v1")})
    old = await rollouts.until_in_place("coder", "v1")
    rollouts.edit({"coder": rollouts.model("tiny", "v2")})
    new = await rollouts.until_in_place("coder", "v2")
    others = {"mine:latest", old.name.replace("default", "somebody")}
    for other in others:
        disk.post("/api/copy", source=old.name, destination=other)
    await chat(rollouts.client, ask("coder", max_tokens=3))
    assert list(disk.loaded) == [new.name]
    rollouts.edit({}, prune="1s")

    async def is_refused() -> bool:
        return (await rollouts.client.post("/v1/chat/completions", json=ask("coder"))).status_code == 404

    await until(is_refused)

    async def is_gone() -> bool:
        return old.name not in disk.names

    await until(is_gone)
    assert disk.names == {new.name, *others}
    disk.post("/api/generate", model=new.name, keep_alive=0)

    async def are_gone() -> bool:
        return disk.names == others

    await until(are_gone)


async def test_each_model_keeps_its_previous_version_and_no_older_one(rollouts: Rollouts) -> None:
    name = rollouts.registry.name("tiny")
    for tag, weights in (("v1", "A"), ("v2", "B"), ("v3", "C")):
        rollouts.publisher.publish(f"{name}:{tag}", weights)
    made = []
    await rollouts.start({})
    for tag in ("v1", "v2", "v3"):
        rollouts.edit({"coder": rollouts.model("tiny", tag)}, prune="1s")

        async def is_there(wanted: str = tag) -> bool:
            reply = await rollouts.client.get("/v1/models/coder")
            return reply.status_code == 200 and reply.json()["ollama"].endswith(wanted)

        await until(is_there)
        made.append((await rollouts.until_in_place("coder", tag)).name)

    async def are_two() -> bool:
        return Disk(rollouts.ollamas[0]).names == set(made[1:])

    await until(are_two)
