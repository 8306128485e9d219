"""A gateway with an audit, what is done to its files, and the command that verifies them."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from tests.attack.command import Command, serving
from tests.flow.waiting import until
from tests.flow.world import World, config

NOTICED = "has lost what was stored"


def database(folder: Path) -> Path:
    """Where it lies."""
    return folder / "state" / "ai-gateway-ollama" / "audit.db"


@asynccontextmanager
async def audited(world: World, **audit: Any) -> AsyncIterator[Command]:
    """A gateway with ten calls in its audit, all of them in the database itself."""
    simulator = await world.simulator()
    async with serving(world.folder, config(simulator.urls, audit=audit)) as command:
        await command.ready()
        for _ in range(10):
            assert (await command.chat()).status == 200
        path = database(world.folder)
        if audit.get("store", "sqlite") == "sqlite":
            await until(lambda: rows(path) >= 10, "all are stored")
            with closing(sqlite3.connect(path)) as other:
                other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        yield command


def rows(path: Path) -> int:
    """How many calls are stored there."""
    with closing(sqlite3.connect(path)) as connection:
        sql = "SELECT count(*) FROM entries WHERE kind = 'end' AND route <> ''"
        return int(connection.execute(sql).fetchone()[0])


def command_line(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`ai-gateway audit ...` beside it."""
    environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}
    command = [sys.executable, "-m", "ai_gateway", "audit", *words]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


def verified(folder: Path, *words: str) -> tuple[int, str]:
    """The status of `audit verify`, and all that it says."""
    done = command_line(folder, "verify", "--store", str(database(folder)), *words)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def deleted(path: Path) -> None:
    path.unlink()


def moved(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))


def replaced_by_a_backup(path: Path) -> None:
    shutil.copyfile(path, path.with_name("backup"))
    with closing(sqlite3.connect(path.with_name("backup"), isolation_level=None)) as backup:
        backup.execute("DELETE FROM entries WHERE sequence > 5")
    path.with_name("backup").rename(path)


def restored_in_place(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(b"\0" * len(content))


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def replaced_by_garbage(path: Path) -> None:
    path.with_name("garbage").write_bytes(os.urandom(100_000))
    path.with_name("garbage").rename(path)


def replaced_by_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replaced_by_a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder_deleted(path: Path) -> None:
    shutil.rmtree(path.parent)


def folder_moved(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


LOSSES: list[Callable[[Path], None]] = [
    deleted, moved, replaced_by_a_backup, restored_in_place, emptied, replaced_by_garbage, replaced_by_a_folder,
    replaced_by_a_fifo, folder_deleted, folder_moved,
]  # fmt: skip
