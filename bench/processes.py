"""Starting, watching and ending the processes of a run: each on its core, none outliving the bench."""

import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.build import BenchError

_STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Cores:
    """Core numbers. The process under test has one to itself; stub, load generator and bench share the other."""

    target: int
    load: int


def take_cores() -> Cores:
    """Moves this process to the load core; what it starts stays there unless told otherwise."""
    free = sorted(os.sched_getaffinity(0))
    cores = Cores(target=free[0], load=free[1 % len(free)])
    os.sched_setaffinity(0, {cores.load})
    return cores


def allow_many_files() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextmanager
def running(
    command: Sequence[str], core: int, folder: Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """The process lives as long as the block. Its output goes to `folder`/output."""
    with (folder / "output").open("ab") as output:
        process = subprocess.Popen(
            [*_dies_with_us(), "taskset", "-c", str(core), *command],
            cwd=folder,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        _end(process)


def _dies_with_us() -> list[str]:
    return ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []


def _end(process: subprocess.Popen[bytes]) -> None:
    """The process, then what is left of its tree: known by id and time of birth, so nothing else is hit."""
    births = {pid: _birth(pid) for pid in tree(process.pid)[1:]}
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid, birth in births.items():
        if birth is not None and _birth(pid) == birth:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _birth(pid: int) -> int | None:
    """In clock ticks since boot; None if there is no such process."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return None


def tree(pid: int) -> list[int]:
    """The process and all below it, parents first."""
    pids = [pid]
    for parent in pids:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                pids += [int(child) for child in children.read_text().split()]
            except OSError:
                continue
    return pids


def cpu_nanoseconds(pids: Sequence[int]) -> int:
    """On-CPU time of all threads so far."""
    spent = 0
    for pid in pids:
        for schedstat in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            try:
                spent += int(schedstat.read_text().split()[0])
            except OSError:
                continue
    return spent


def resident_kb(pids: Sequence[int]) -> int:
    """Resident memory as the kernel counts it page by page (`statm` may be off by a hundred pages)."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Rss:"):
                total += int(line.split()[1])
    return total


def wait_until_quiet(pids: Sequence[int], patience_seconds: float = 5.0) -> None:
    """What the last load left to do shall not be counted in the next."""
    end = time.monotonic() + patience_seconds
    while time.monotonic() < end:
        before = cpu_nanoseconds(pids)
        time.sleep(0.05)
        if cpu_nanoseconds(pids) - before < 5_000_000:
            return


def tail(folder: Path) -> str:
    """The last words of a process that failed."""
    return (folder / "output").read_text(errors="replace")[-2000:]


@contextmanager
def running_stub(stub: Path, core: int, folder: Path) -> Iterator[tuple[int, int]]:
    """Yields its port and its process id."""
    folder.mkdir()
    with running([str(stub)], core, folder) as process:
        for _ in range(500):
            words = (folder / "output").read_text().split()
            if len(words) == 2:
                yield int(words[1]), process.pid
                return
            time.sleep(0.01)
        raise BenchError(f"the stub does not start: {tail(folder)}")
