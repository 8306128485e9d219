"""The command as a reader of the docs runs it, on free ports of loopback."""

import http.client
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import yaml

ROOT = Path(__file__).parents[2]
COMMAND = str(Path(sys.executable).with_name("ai-gateway"))
READY_SECONDS = 60.0

_LISTENING = re.compile(r"listening on http://([0-9.:]+) \(admin http://([0-9.:]+)\)")


@contextmanager
def serve(*flags: str, ollama: str | None = None) -> Iterator[tuple[str, str]]:
    """`ai-gateway serve` until the block is left; the API's and the admin's `host:port`, once it is ready."""
    words = ["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", *flags]
    with _running(words, {} if ollama is None else {"OLLAMA_HOST": ollama}) as process:
        assert process.stderr is not None
        lines = _lines_until(process.stderr, _LISTENING)
        found = _LISTENING.search(lines[-1]) if lines else None
        assert found, f"the gateway does not say where it listens: {lines}"
        _wait_until_ready(found[2])
        yield found[1], found[2]


@contextmanager
def simulate(*flags: str) -> Iterator[tuple[list[str], str]]:
    """`ai-gateway simulate` until the block is left; the endpoints' `host:port`, and that of their control port."""
    words = ["simulate", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", *flags]
    with _running(words, {}) as process:
        assert process.stdout is not None
        *urls, control = _lines_until(process.stdout, re.compile("^control "))
        yield [url.strip().removeprefix("http://") for url in urls], control.split("http://")[1].strip()


def write_config(folder: Path, models: dict[str, dict[str, object]], **sections: object) -> Path:
    """A config.yml with these models, and other sections."""
    path = folder / "config.yml"
    path.write_text(yaml.safe_dump({"models": models, **sections}))
    return path


@contextmanager
def _running(words: Sequence[str], extra: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AI_GATEWAY_", "OLLAMA_"))}
    with subprocess.Popen(
        [COMMAND, *words],
        cwd=ROOT,
        env=env | extra,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if words[0] == "simulate" else subprocess.DEVNULL,
        stderr=subprocess.PIPE if words[0] == "serve" else None,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _lines_until(stream: IO[str], last: re.Pattern[str]) -> list[str]:
    """The lines up to one that is looked for; what comes later is read and dropped, so that no pipe fills."""
    lines = []
    for line in stream:
        lines.append(line)
        if last.search(line):
            threading.Thread(target=stream.read, daemon=True).start()
            break
    return lines


def _wait_until_ready(admin: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        connection = http.client.HTTPConnection(admin, timeout=READY_SECONDS)
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        if answer.status == 200:
            return
        assert time.monotonic() < deadline, text
        time.sleep(0.02)  # another program gets ready, and no event of it reaches us
