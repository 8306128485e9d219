"""A real PostgreSQL from Debian's package, on a loopback port and a unix socket; tests may stop, kill and pause it."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.ports import free_port
from tools.building import install_debian

USER: Final = "gateway"  # of the database; it may create databases
PROGRAMS: Final = Path("/usr/lib/postgresql")
START_SECONDS: Final = 60.0
# Tests end processes, never the machine: what the kernel has taken is not lost.
SETTINGS: Final = {
    "fsync": "off",
    "max_connections": "50",
    "shared_buffers": "64MB",
    "log_min_messages": "warning",
    "timezone": "America/Caracas",  # whoever forgets to say UTC is found out
}


def installed() -> Path:
    """The folder of the newest server's programs; installs the package where it is missing."""
    install_debian({"postgresql": PROGRAMS})
    return max(PROGRAMS.glob("*/bin"), key=lambda folder: int(folder.parent.name))


def _account() -> str | None:
    """PostgreSQL refuses to run as root: then it runs as the package's own account."""
    return "postgres" if os.geteuid() == 0 else None


class PostgreSQL:
    """One server with its data in `folder`, which its account must be able to enter. Started and stopped by tests."""

    def __init__(self, folder: Path, settings: dict[str, str] | None = None) -> None:
        self._programs = installed()
        self._folder = folder
        self._settings = {**SETTINGS, **(settings or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        self.port = free_port()
        account = _account()
        if account is not None:
            entry = pwd.getpwnam(account)
            os.chown(folder, entry.pw_uid, entry.pw_gid)
        self._run("initdb", "-D", f"{folder}/data", "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C")

    def dsn(self, database: str, host: str | None = None) -> str:
        """How to reach a database: over loopback, or with the folder of the unix socket as `host`."""
        return f"host={host or '127.0.0.1'} port={self.port} user={USER} dbname={database}"

    @property
    def socket_folder(self) -> Path:
        """Where its unix socket is."""
        return self._folder

    def new_database(self) -> str:
        """Makes an empty one; its DSN."""
        self._databases += 1
        name = f"test_{self._databases}"
        self._run("createdb", "-h", str(self._folder), "-p", str(self.port), "-U", USER, name)
        return self.dsn(name)

    def start(self) -> None:
        """Returns when it answers."""
        command = [str(self._programs / "postgres"), "-D", f"{self._folder}/data", "-k", str(self._folder)]
        command += ["-h", "127.0.0.1", "-p", str(self.port)]
        command += [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, user=_account(), start_new_session=True, cwd="/", env=_environment()
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            is_starting = self._process.poll() is None and time.monotonic() < deadline
            assert is_starting, self._log.read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        """Cuts its clients and ends in order."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Ends all its processes at once, in the middle of whatever they do."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(30)
            self._process = None

    def restart(self) -> None:
        """Stops and starts."""
        self.stop()
        self.start()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """It holds its connections and takes new ones, and answers nothing for as long as the block lasts."""
        assert self._process is not None
        members = _family(self._process.pid)
        for pid in members:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in reversed(members):
                os.kill(pid, signal.SIGCONT)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(60)
            self._process = None

    @property
    def _log(self) -> Path:
        return self._folder / "log"

    def _answers(self) -> bool:
        command = [str(self._programs / "pg_isready"), "-q", "-h", str(self._folder), "-p", str(self.port)]
        return subprocess.run(command, check=False).returncode == 0

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, user=_account(), cwd="/", env=_environment(), check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def _environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "LC_ALL": "C", "PGUSER": USER}


def _family(pid: int) -> list[int]:
    """A process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


@contextmanager
def running(settings: dict[str, str] | None = None) -> Iterator[PostgreSQL]:
    """A server for as long as the block lasts; nothing of it stays."""
    folder = Path(tempfile.mkdtemp(prefix="ai-gateway-postgresql-"))
    server = PostgreSQL(folder, settings)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder)
