"""`log` in the config changes what a running gateway writes, from the next line on."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import yaml

GATEWAY = Path(sys.executable).parent / "ai-gateway"


class Running:
    """A gateway whose config, log and access log are files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._config = folder / "config.yml"
        self._out, self._err = folder / "out", folder / "err"
        self.write()
        command = [str(GATEWAY), "serve", "--config", str(self._config)]
        command += ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(command, stdout=out, stderr=err)

    def listening(self) -> None:
        """Waits for it."""
        self.until(lambda: any("listening on" in line for line in self.messages()))
        (listening,) = (line for line in self.messages() if line.startswith("listening on"))
        self._url = listening.split()[2]

    def write(self, **log: object) -> None:
        """Changes the config."""
        config = {"models": {"llama3": {}}, "discovery": {"static": ["http://127.0.0.1:9"]}, "log": log}
        new = self._config.with_suffix(".new")
        new.write_text(yaml.safe_dump(config))
        new.replace(self._config)

    def ask(self, name: str) -> None:
        """A request that a line of the access log would name."""
        httpx.get(f"{self._url}/v1/models", headers={"x-request-id": name}, trust_env=False, timeout=60)

    def asked(self) -> list[str]:
        """Names of requests in the access log."""
        return [json.loads(line)["request_id"] for line in self._out.read_text().splitlines()]

    def messages(self) -> list[str]:
        """Of the gateway's own log."""
        lines = self._err.read_text().splitlines()
        return [json.loads(line)["message"] for line in lines if line.endswith("}")]

    def until(self, happens: Callable[[], object]) -> None:
        """Waits for it."""
        deadline = time.monotonic() + 60
        while not happens():
            assert time.monotonic() < deadline, self.messages()
            time.sleep(0.02)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """Ends with the test."""
    running = Running(tmp_path)
    try:
        running.listening()
        yield running
        running.process.terminate()
        assert running.process.wait(60) == 0
    finally:
        running.process.kill()  # what is left behind would keep pytest's worker from its end
        running.process.wait()


def test_access_lines_are_turned_off_and_on_at_run_time(running: Running) -> None:
    """What was asked meanwhile is in no line."""
    running.ask("first")
    running.until(lambda: "first" in running.asked())
    running.write(access=False)
    running.until(lambda: any(line.startswith("config reloaded") for line in running.messages()))
    running.ask("second")
    running.write(access=True)
    running.until(lambda: sum(line.startswith("config reloaded") for line in running.messages()) == 2)
    running.ask("third")
    running.until(lambda: "third" in running.asked())
    assert running.asked() == ["first", "third"]


def test_a_level_holds_from_the_very_change_on(running: Running) -> None:
    """The line that would tell of the reload is the first that it silences; a lower level brings it back."""
    running.until(lambda: any(" is down" in line for line in running.messages()))
    before = running.messages()
    running.write(level="error")
    running.write(level="error", access=True)
    time.sleep(1.2)  # two checks of the file: there is no event for a line that is not written
    assert running.messages() == before
    running.write(level="info")
    running.until(lambda: running.messages() != before)
    assert running.messages()[-1].startswith("config reloaded")
