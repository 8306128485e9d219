"""The gateway as a user runs it: the installed command, a config file, a free port."""

import re
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from tests.ollama.process import POLL_SECONDS, START_SECONDS, Server, wait_until_it_answers

MODELS: Mapping[str, Mapping[str, Any]] = {
    "chat": {"ollama": "tiny", "version": "latest", "aliases": ["assistant"]},
    "without-tools": {"ollama": "plain"},
    "slow": {},
    "embeddings": {"ollama": "embed"},
}
MISSING: Mapping[str, Mapping[str, Any]] = {"ghost": {}}  # in the config, and nowhere else
NO_ENVIRONMENT: Mapping[str, str] = {}

_LISTENING = re.compile(r"listening on (http://127\.0\.0\.1:\d+) \(admin (http://127\.0\.0\.1:\d+)\)")


class Serving(Server):
    """`ai-gateway serve` with some flags, more environment and, unless a ConfigMap has it, a config."""

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any] | None,
        flags: Sequence[str] = (),
        env: Mapping[str, str] = NO_ENVIRONMENT,
    ) -> None:
        command = [str(Path(sys.executable).with_name("ai-gateway")), "serve", *flags]
        if config is not None:
            path = folder / "config.yml"
            command += ["--config", str(path)]
        super().__init__([*command, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"], 0, folder, env)
        if config is not None:
            path.write_text(yaml.safe_dump(dict(config)))
        self.admin_url = ""

    def start(self) -> None:
        """Starts it and waits until it is ready."""
        self.listen()
        wait_until_it_answers(f"{self.admin_url}/readyz", self)

    def listen(self) -> None:
        """Starts it and waits until its log says where it listens."""
        self._spawn()
        deadline = time.monotonic() + START_SECONDS
        while (found := _LISTENING.search(self.log.read_text())) is None:
            assert self.is_up, f"the gateway ended:\n{self.log.read_text()}"
            assert time.monotonic() < deadline, f"the gateway does not say where it listens:\n{self.log.read_text()}"
            time.sleep(POLL_SECONDS)
        self.url, self.admin_url = found[1], found[2]


class Gateway(Serving):
    """A gateway over some endpoints, quick to notice what becomes of them."""

    def __init__(
        self,
        folder: Path,
        urls: Sequence[str],
        models: Mapping[str, Mapping[str, Any]] = MODELS,
        sections: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(folder, {**_config(urls, models), **(sections or {})})


def _config(urls: Sequence[str], models: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "models": {model_id: dict(model) for model_id, model in models.items()},
        "discovery": {"static": list(urls)},
        "polling": {"interval": "200ms", "models_interval": "500ms", "timeout": "2s"},
    }
