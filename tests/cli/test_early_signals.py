"""A signal during the start of a command ends it at any moment, also as a container's first process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

# SIGTERM to itself at an event of Python's audit (the sys module's audit hooks) in whose arguments a word stands.
PROGRAM = """
import os, signal, sys
event, word, number = sys.argv[1:4]
sys.argv = ["ai-gateway", *sys.argv[4:]]
reported = []
def hook(seen, arguments):
    if seen == event and word in str(arguments) and not reported:
        reported.append(word)
        os.write(2, b"the moment has come\\n")
        os.kill(os.getpid(), int(number))
sys.addaudithook(hook)
from ai_gateway.__main__ import main
sys.exit(main())
"""
SERVE = ("serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
MOMENTS = {  # of a gateway, from the first line of the command to the last before it listens
    "argparse": ("import", "argparse"),
    "app": ("import", "ai_gateway.app"),
    "config": ("open", "config.yml"),
    "port": ("socket.bind", "127.0.0.1"),
    "audit": ("sqlite3.connect", "audit"),
}
OTHERS = {  # what a pod or a job may run as well
    "check": (("open", "config.yml"), ("check", "config.yml")),
    "keys": (("import", "ai_gateway.auth"), ("keys", "list", "--file", "keys.yaml")),
    "audit": (("import", "ai_gateway.audit.store"), ("audit", "verify")),
    "drain": (("socket.connect", "127.0.0.1"), ("drain",)),
}
FIRST = ("unshare", "--pid", "--fork", "--kill-child")  # process 1 of a namespace of its own
ENDS_BY_SECONDS = 60.0  # a busy machine; a signal that is lost ends nothing at all


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The config of a gateway that finds no endpoint."""
    (tmp_path / "config.yml").write_text('models: {llama3: }\ndiscovery: {static: ["http://127.0.0.1:9"]}\n')
    return tmp_path


@pytest.fixture(autouse=True)
def _interrupts_are_heard() -> Iterator[None]:
    """A shell starts background jobs with SIGINT ignored; their children ignore it, too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def status_of(moment: tuple[str, str], words: Sequence[str], folder: Path, *, first: bool, number: int) -> int:
    """Of the command, which is signalled in that moment."""
    command = [sys.executable, "-c", PROGRAM, *moment, str(number), *words]
    environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}
    done = subprocess.run(
        [*(FIRST if first else ()), *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=ENDS_BY_SECONDS,
        check=False,
    )
    assert "the moment has come" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert "listening on" not in done.stderr
    return done.returncode


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("name", MOMENTS)
def test_a_gateway_that_has_not_listened_yet_ends_with_0(folder: Path, name: str, number: signal.Signals) -> None:
    assert status_of(MOMENTS[name], SERVE, folder, first=False, number=number) == 0


@pytest.mark.cluster
@pytest.mark.parametrize("name", MOMENTS)
def test_so_does_one_that_is_a_containers_first_process(folder: Path, name: str) -> None:
    """The kernel drops what such a process has no handler for."""
    assert status_of(MOMENTS[name], SERVE, folder, first=True, number=signal.SIGTERM) == 0


def test_a_simulator_ends_with_0_as_well(folder: Path) -> None:
    assert status_of(("import", "uvloop"), ("simulate",), folder, first=False, number=signal.SIGTERM) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("name", OTHERS)
def test_other_commands_end_by_the_signal(folder: Path, name: str, number: signal.Signals) -> None:
    """And leave no trace of where they were."""
    moment, words = OTHERS[name]
    assert status_of(moment, words, folder, first=False, number=number) == -number


@pytest.mark.cluster
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("name", OTHERS)
def test_a_containers_first_process_exits_with_the_signals_status(
    folder: Path, name: str, number: signal.Signals
) -> None:
    moment, words = OTHERS[name]
    assert status_of(moment, words, folder, first=True, number=number) == 128 + number


def test_little_is_imported_before_signals_are_handled() -> None:
    """Of the gateway only what hears them: each further import is time in which a container cannot be ended."""
    program = "import sys; from ai_gateway.__main__ import main; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name for name in done.stdout.split() if name.startswith("ai_gateway")}
    assert loaded == {"ai_gateway", "ai_gateway.__main__", "ai_gateway.cli", "ai_gateway.cli.early_signals"}
    assert not {"argparse", "typing_extensions", "asyncio", "uvloop"} & set(done.stdout.split())


@pytest.mark.cluster
def test_no_moment_of_the_first_second_loses_the_signal(folder: Path) -> None:
    """From the time on that there is a handler; before it there is no line of the command yet."""
    for wait_seconds in [step * 0.05 for step in range(31)]:
        with _started(folder) as (process, pid):
            time.sleep(wait_seconds)  # the moment that is tried, not a wait for anything
            os.kill(pid, signal.SIGTERM)
            assert process.wait(timeout=ENDS_BY_SECONDS) == 0, wait_seconds


@contextmanager
def _started(folder: Path) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """A gateway as the first process of a namespace, once it hears signals; and its number on this machine."""
    command = [*FIRST, sys.executable, "-m", "ai_gateway", *SERVE]
    environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield process, _heard_by(process)
        finally:
            process.kill()


def _heard_by(process: "subprocess.Popen[bytes]") -> int:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while process.poll() is None:
        for pid in map(int, children.read_text().split()):
            fields = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
            if fields["Name"] != "unshare" and int(fields["SigCgt"], 16) >> (signal.SIGTERM - 1) & 1:
                return pid
    raise AssertionError(f"it ended with {process.returncode}")
