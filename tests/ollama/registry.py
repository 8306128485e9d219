"""A registry for real pulls without the internet: Docker's own, and nginx in front of what it stores.

Ollama wants each layer behind a redirect to another host. So it asks the registry at 127.0.0.1, which sends it for
layers to nginx at localhost; in a cluster these have other names. Neither speaks TLS, and nginx can be slow.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import yaml
from tests.ollama import models
from tests.ollama.process import Server, wait_until_it_answers
from tests.ollama.real import Ollama
from tests.ollama.store import CONTEXT_TOKENS, PLAIN_TEMPLATE
from tests.ports import free_port
from tests.tools.build_go import folder_of
from tools.building import install_debian

NGINX: Final = Path("/usr/sbin/nginx")
QUICK_SECONDS: Final = 60.0
PARAMETERS: Final = {"num_ctx": CONTEXT_TOKENS, "num_thread": 1}  # one thread need not wait for another's turn
_TITLE: Final = re.compile(rb"(tiny (?:cha|embedding)).")  # in the files of `models`: another letter, another file


class Registry(Server):
    """Changed by `publish`; it may be stopped and started. `limit` makes it slow.

    It listens on `address`, where nginx has the name `layers_at`.
    """

    def __init__(self, folder: Path, address: str = "127.0.0.1", layers_at: str = "localhost") -> None:
        port = free_port()
        self.host = f"{address}:{port}"
        self.layers = _Layers(folder / "layers", folder / "stored", address, layers_at)
        program = folder_of("registry") / "registry"
        assert program.exists(), "the registry is not built; run: python tests/tools/build_go.py registry"
        config = folder / "registry.yml"
        env = {"OTEL_SDK_DISABLED": "true"}  # else it sends traces somewhere
        super().__init__([str(program), "serve", str(config)], port, folder, env)
        self.url = f"http://{self.host}"
        config.write_text(yaml.safe_dump(_config(self.host, folder / "stored", self.layers.url)))

    def start(self) -> None:
        """Starts it and waits until it answers."""
        self._spawn()
        wait_until_it_answers(f"{self.url}/v2/", self)
        self.layers.start()

    def stop(self) -> None:
        """It refuses connections, and keeps what it stores."""
        self.layers.stop()
        super().stop()

    def limit(self, bytes_per_second: int | None) -> None:
        """How fast one connection may read layers from now on; None: as fast as it can. Cuts those that are open."""
        self.layers.limit(bytes_per_second)

    def mend(self) -> None:
        """Quick and up, whatever a test did."""
        if not self.is_up:
            self.start()
        if self.layers.is_limited:
            self.limit(None)

    def name(self, model: str) -> str:
        """A model's name without a tag, as Ollama and config.yml have it."""
        return f"{self.host}/library/{model}"


class _Layers(Server):
    """nginx over the folder in which the registry stores."""

    def __init__(self, folder: Path, stored: Path, address: str, name: str) -> None:
        self.port = free_port()
        self._config = folder / "nginx.conf"
        self._stored, self._address = stored, f"{address}:{self.port}"
        super().__init__([str(NGINX), "-p", str(folder), "-c", str(self._config)], self.port, folder, {})
        self.url = f"http://{name}:{self.port}"
        self.is_limited = False
        self._write(None)

    def start(self) -> None:
        """Starts it and waits until it answers."""
        self._spawn()
        wait_until_it_answers(f"http://{self._address}/up", self)

    def limit(self, bytes_per_second: int | None) -> None:
        """See Registry."""
        self.stop()
        self._write(bytes_per_second)
        self.start()

    def _write(self, bytes_per_second: int | None) -> None:
        self.is_limited = bytes_per_second is not None
        limit = f"limit_rate {bytes_per_second};" if bytes_per_second else ""
        paths = "".join(
            f"{word}_temp_path {self._folder}/{word};" for word in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        self._config.write_text(
            f"""
            daemon off; pid {self._folder}/nginx.pid; error_log stderr; {_user()}
            events {{ }}
            http {{
              access_log off; {paths}
              server {{
                listen {self._address}; root {self._stored};
                location / {{ {limit} }}
                location = /up {{ return 200; }}
              }}
            }}
            """
        )


def _user() -> str:
    """Root's workers would be somebody else, who may not read folders of tests."""
    return "user root;" if os.geteuid() == 0 else ""


def _config(host: str, stored: Path, layers_url: str) -> dict[str, Any]:
    return {
        "version": 0.1,
        "log": {"level": "warn"},
        "http": {"addr": host},
        "storage": {"filesystem": {"rootdirectory": str(stored)}},
        "middleware": {"storage": [{"name": "redirect", "options": {"baseurl": f"{layers_url}/"}}]},
    }


class Publisher:
    """An Ollama of its own that makes tiny models and pushes them."""

    def __init__(self, folder: Path, registry: Registry) -> None:
        self._ollama = Ollama(folder)
        self._chat, self._embeddings = folder / "chat.gguf", folder / "embeddings.gguf"
        self.registry = registry
        models.write_chat(self._chat)
        models.write_embeddings(self._embeddings)

    def start(self) -> None:
        """Before it can publish."""
        self._ollama.start()

    def stop(self) -> None:
        """What is published stays."""
        self._ollama.stop()

    def publish(self, name: str, weights: str = "A", **more: Any) -> None:
        """Pushes a chat model under a name with its tag; the tag moves if it is there.

        Each letter of `weights` gives a file of its own; `more` goes into /api/create.
        """
        self._push(name, self._chat, weights, {"template": PLAIN_TEMPLATE, **more})

    def publish_embeddings(self, name: str, weights: str = "A") -> None:
        """The same for an embedding model."""
        self._push(name, self._embeddings, weights, {})

    def _push(self, name: str, file: Path, letter: str, more: Mapping[str, Any]) -> None:
        assert len(letter) == 1
        content = _TITLE.sub(rb"\1" + letter.encode(), file.read_bytes(), count=1)
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        wish = {"model": name, "files": {"model.gguf": digest}, "parameters": PARAMETERS, "stream": False, **more}
        with httpx.Client(base_url=self._ollama.url, trust_env=False, timeout=QUICK_SECONDS) as http:
            http.post(f"/api/blobs/{digest}", content=content).raise_for_status()
            made = http.post("/api/create", json=wish)
            assert made.json() == {"status": "success"}, made.text
            pushed = http.post("/api/push", json={"model": name, "insecure": True, "stream": False})
            assert pushed.json() == {"status": "success"}, pushed.text


def installed() -> None:
    """Installs nginx where it is missing."""
    install_debian({"nginx-light": NGINX})
