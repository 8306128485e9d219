"""`ai-gateway serve` as a process of its own, with an environment in which nothing of OpenTelemetry is set."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import httpx
import yaml
from tests.flow.waiting import PATIENCE_SECONDS

GATEWAY: Final = Path(sys.executable).parent / "ai-gateway"
WATCHED: Final = ("opentelemetry", "google", "grpc", "requests")
# The command, and at its end what it has imported, as a line of its own log's stream.
_TELLING: Final = f"""
import sys
from ai_gateway.__main__ import main
status = main(sys.argv[1:])
roots = {{name.partition(".")[0] for name in sys.modules}}
print("imported:", *sorted(roots.intersection({WATCHED!r})), file=sys.stderr)
sys.exit(status)
"""


def plain_environment(**variables: str) -> dict[str, str]:
    """This process's own without OTEL_*, and these variables."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    return {**own, **variables}


class Command:
    """A gateway over what OLLAMA_HOST leads to. `lines` are those of its standard output."""

    def __init__(self, folder: Path, **variables: str) -> None:
        config = folder / "config.yml"
        config.write_text(yaml.safe_dump({"models": {"llama3": {}}}))
        words = ["serve", "--config", str(config), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
        self._out = folder / "out"
        with self._out.open("w") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _TELLING, *words], env=plain_environment(**variables), stdout=out,
                stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
        self.log = ""
        self._port = self._listening()

    def _listening(self) -> int:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.log += line
            if "listening on" in line:
                return int(line.partition("listening on http://127.0.0.1:")[2].split()[0])
        raise AssertionError(self.log)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """One answer, which must be a 200; the endpoint may have to be found first."""
        url = f"http://127.0.0.1:{self._port}{path}"
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            answer = httpx.request(method, url, json=body, headers=headers, trust_env=False, timeout=PATIENCE_SECONDS)
            if answer.status_code == 200:
                return answer
            assert time.monotonic() < deadline, answer.text
            time.sleep(0.02)

    def chat(self, **more: Any) -> httpx.Response:
        """The answer to a short chat."""
        headers = more.pop("headers", {})
        body = {"model": "llama3", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1, **more}
        return self.ask("POST", "/v1/chat/completions", body, **headers)

    def signal(self) -> None:
        """SIGTERM, which is not waited for."""
        self._signalled_at = time.monotonic()
        self._process.send_signal(signal.SIGTERM)

    def left(self, patience_seconds: float = 60.0) -> float:
        """Waits for its end; the seconds since it was asked to leave."""
        self.log += self._process.communicate(timeout=patience_seconds)[1]
        assert self._process.returncode == 0, self.log
        return time.monotonic() - self._signalled_at

    def leave(self) -> None:
        """SIGTERM, and its end."""
        self.signal()
        self.left()

    def end(self) -> None:
        """At once, if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What it wrote to standard output; known when it has left."""
        lines = [json.loads(line) for line in self._out.read_text().splitlines()]
        return [line for line in lines if line.get("log") != "audit"]  # checkpoints of the audit

    @property
    def imported(self) -> list[str]:
        """Which of the watched packages were imported; known when it has left."""
        (line,) = [line for line in self.log.splitlines() if line.startswith("imported:")]
        return line.split()[1:]
