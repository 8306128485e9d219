"""`ai-gateway models` and `wait` as processes, beside a real gateway and simulated endpoints."""

import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from tests.docs.program import serve, simulate

SECONDS = 60
SLOW = ("--endpoints", "2", "--registry", "*", "--pull-bytes-per-second", "2e9", "--load-seconds", "0")


class Site:
    """A gateway over endpoints, and its config.yml."""

    def __init__(self, folder: Path, endpoints: list[str]) -> None:
        self.path = folder / "config.yml"
        self._endpoints = [f"http://{endpoint}" for endpoint in endpoints]
        self.url = ""

    def write(self, **coder: object) -> None:
        """An edit."""
        polling = {"interval": "60ms", "models_interval": "120ms"}
        content = {"models": {"coder": coder}, "discovery": {"static": self._endpoints}, "polling": polling}
        new = self.path.with_suffix(".new")
        new.write_text(yaml.safe_dump(content))
        new.replace(self.path)

    def command(self, *words: str) -> list[str]:
        """As a shell would run it."""
        return [sys.executable, "-m", "ai_gateway", "models", *words, "--url", self.url]

    def wait(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Waits for the model and this very config."""
        command = self.command("wait", "coder", "--config", str(self.path), "--timeout", "50s", *words)
        return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)


@contextmanager
def site(folder: Path, *flags: str, **coder: object) -> Iterator[Site]:
    """Until the block is left."""
    with simulate(*flags) as (endpoints, _):
        made = Site(folder, endpoints)
        made.write(**coder)
        with serve("--config", str(made.path)) as (api, _):
            made.url = f"http://{api}"
            yield made


def test_an_edit_is_waited_for_until_every_endpoint_has_it(tmp_path: Path) -> None:
    """Pulled, then shaped; a roll back, too."""
    first = {"ollama": "codellama", "version": "7b", "pull": "if_missing"}
    with site(tmp_path, *SLOW, "--models", "llama3:latest", **first) as made:
        for edit in (first, {**first, "version": "13b"}, {**first, "system": "Be brief."}, first):
            made.write(**edit)
            done = made.wait()
            assert (done.returncode, done.stdout) == (0, "coder: is in place\n"), done.stderr
            table = subprocess.run(made.command(), capture_output=True, text=True, timeout=SECONDS, check=True).stdout
            assert re.search(rf"coder +ready +2 +codellama:{edit['version']}\n", table)


def test_an_unknown_tag_fails_with_what_ollama_says(tmp_path: Path) -> None:
    with site(tmp_path, *SLOW, "--registry", "other", ollama="nowhere", pull="if_missing") as made:
        done = made.wait()
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.splitlines()[-1] == "coder: has failed: pull model manifest: file does not exist"


@pytest.mark.parametrize(("held", "status"), [("codellama:latest", 0), ("other:latest", 2)])
def test_a_model_that_is_never_pulled_is_in_place_where_an_endpoint_has_it(
    tmp_path: Path, held: str, status: int
) -> None:
    with site(tmp_path, "--models", held, ollama="codellama") as made:
        done = made.wait("--timeout", "30s" if status == 0 else "1s")
        assert done.returncode == status, done.stderr


def test_a_terminal_shows_a_live_table_until_it_is_interrupted(tmp_path: Path) -> None:
    """It is drawn over itself, cut to the width, and ends without a trace."""
    with site(tmp_path, *SLOW, "--models", "a:latest", "--pull-bytes-per-second", "3e8", pull="if_missing") as made:
        ours, theirs = pty.openpty()
        os.set_blocking(ours, True)
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "24"}
        process = subprocess.Popen(made.command(), stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
        os.close(theirs)
        seen = read_until(ours, rb"\[#+\.+\] +[1-9]\d?%")
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) in (0, -signal.SIGINT)
        os.close(ours)
    assert b"Traceback" not in seen
    codes = set(re.findall(rb"\x1b\[[0-9;]*[A-Za-z]", seen))
    assert codes == {b"\x1b[H", b"\x1b[K", b"\x1b[J"}
    assert b"coder" in seen
    assert b"pulling" in seen


def read_until(descriptor: int, pattern: bytes) -> bytes:
    """What a terminal shows up to this."""
    seen = b""
    while not re.search(pattern, seen):
        more = os.read(descriptor, 4096)
        assert more, seen
        seen += more
    return seen


def test_a_reader_that_leaves_ends_it_without_a_word(tmp_path: Path) -> None:
    """As `| head -1` does."""
    with site(tmp_path, "--models", "coder:latest") as made:
        process = subprocess.Popen(made.command(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        process.stderr.close()
        assert process.wait(SECONDS) == 0
