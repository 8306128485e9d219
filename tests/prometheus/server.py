"""A real Prometheus on loopback, from Debian's package, that scrapes one gateway every half second."""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from tests.ports import free_port
from tools.building import install_debian
from tools.chart.files import CHART

NAMESPACE = "test"
PROMETHEUS, PROMTOOL = Path("/usr/bin/prometheus"), Path("/usr/bin/promtool")


def installed() -> None:
    """Installs it where it is missing."""
    install_debian({"prometheus": PROMTOOL})


def rules() -> dict[str, Any]:
    """The chart's alerts, as a file of rules for one namespace."""
    text = (CHART / "files/alerts.yaml").read_text().replace("$NAMESPACE", NAMESPACE)
    return {"groups": [{"name": "ai-gateway-ollama", "rules": yaml.safe_load(text)}]}


def promtool(*arguments: str, input: str | None = None) -> str:
    """What promtool says; it must be content."""
    done = subprocess.run([PROMTOOL, *arguments], input=input, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class Server:
    """Where it listens."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its HTTP API."""
        url = f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            content = json.load(answer)
        assert content["status"] == "success", content
        return content["data"]

    def query(self, expression: str) -> list[Any]:
        """The series of an instant query."""
        try:
            found: list[Any] = self.ask("query", query=expression)["result"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{expression}: {error.read().decode()}") from None
        return found

    @property
    def is_ready(self) -> bool:
        """Whether it answers."""
        try:
            with urllib.request.urlopen(f"{self._url}/-/ready", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@contextmanager
def scraping(target: str, folder: Path) -> Iterator[Server]:
    """Runs as long as the block."""
    port = free_port()
    relabeling = {"target_label": "namespace", "replacement": NAMESPACE}
    job = {"job_name": "gateway", "static_configs": [{"targets": [target]}], "relabel_configs": [relabeling]}
    config = {
        "global": {"scrape_interval": "500ms", "evaluation_interval": "1s"},
        "rule_files": ["rules.yml"],
        "scrape_configs": [job],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    (folder / "rules.yml").write_text(yaml.safe_dump(rules()))
    command = [str(PROMETHEUS), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--enable-feature=exemplar-storage", "--log.level=warn"]
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        server = Server(port)
        deadline = time.monotonic() + 30
        while not server.is_ready:
            is_starting = process.poll() is None and time.monotonic() < deadline
            assert is_starting, (folder / "output").read_text()
            time.sleep(0.1)
        yield server
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder / "data", ignore_errors=True)
