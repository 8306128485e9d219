"""Real Ollamas whose disks are empty, a registry that has models, and a gateway that brings them there.

The gateway is the command as a user runs it; an edit is an edit of its file.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml
from tests.ollama.gateway import Gateway
from tests.ollama.real import Ollama
from tests.ollama.registry import Publisher, Registry
from tests.ollama.talk import until

from ai_gateway.wire.made_names import Made, read_made

CALL_SECONDS = 60.0


class Rollouts:
    """Changed by `edit`, `restart` and what the gateway does. `client` speaks with the gateway that runs now."""

    def __init__(self, folder: Path, registry: Registry, publisher: Publisher, ollamas: Sequence[Ollama]) -> None:
        self.registry = registry
        self.publisher = publisher
        self.ollamas = ollamas
        self.client = httpx.AsyncClient(trust_env=False)
        self._folder = folder
        self._started = 0
        self.gateway: Gateway | None = None

    # -- the gateway

    async def start(self, models: Mapping[str, Any], urls: Sequence[str] | None = None, **reconcile: Any) -> None:
        """A gateway with this config. It may pull from the registry; `urls`: other ways to the Ollamas."""
        self._started += 1
        sections = {"reconcile": self._settings(reconcile)}
        urls = urls or [ollama.url for ollama in self.ollamas]
        self.gateway = Gateway(self._folder / f"gateway-{self._started}", urls, models, sections)
        self.gateway.start()
        await self.client.aclose()
        self.client = httpx.AsyncClient(base_url=self.gateway.url, timeout=CALL_SECONDS, trust_env=False)

    def kill(self) -> None:
        """The gateway is gone at once."""
        assert self.gateway is not None
        self.gateway.kill()

    def edit(self, models: Mapping[str, Any], **reconcile: Any) -> None:
        """Another config, written as editors do."""
        path = self._folder / f"gateway-{self._started}" / "config.yml"
        config = yaml.safe_load(path.read_text())
        config |= {"models": dict(models), "reconcile": self._settings(reconcile)}
        (new := path.with_suffix(".new")).write_text(yaml.safe_dump(config))
        new.rename(path)

    def _settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        hosts = [self.registry.host]
        return {"pull": "if_missing", "registries": hosts, "insecure_registries": [*hosts], **given}

    async def stop(self) -> None:
        """Ends the gateway."""
        await self.client.aclose()
        if self.gateway is not None:
            self.gateway.stop()

    # -- what it tells

    def model(self, name: str, version: str, **more: Any) -> dict[str, Any]:
        """A model of the registry, as config.yml has it."""
        return {"ollama": self.registry.name(name), "version": version, **more}

    async def show(self, model_id: str) -> dict[str, Any]:
        """GET /v1/models/{model}."""
        reply = await self.client.get(f"/v1/models/{model_id}")
        assert reply.status_code == 200, reply.text
        shown: dict[str, Any] = reply.json()
        return shown

    async def served(self, model_id: str) -> list[Made | None]:
        """The made name that calls get on each endpoint that has one; None: a tag."""
        return [read_made(version["serves"]) for version in (await self.show(model_id))["versions"]]

    async def until_in_place(self, model_id: str, tag: str = "", *, loaded: bool = False, but: str = "") -> Made:
        """Waits until each Ollama serves what the config asks for, of this tag, but not with this digest; the name."""

        async def is_so() -> bool:
            shown = await self.show(model_id)
            versions, rest = shown["versions"], shown.get("total")
            return (
                rest is None
                and len(versions) == len(self.ollamas)
                and shown["ollama"].endswith(tag)
                and all(one["serves"] == one["wanted"] and (one["is_loaded"] or not loaded) for one in versions)
                and not (but and any(one["wanted"].endswith(but) for one in versions))
            )

        await until(is_so)
        first = (await self.served(model_id))[0]
        assert first is not None
        return first

    async def until_failed(self, model_id: str) -> str:
        """Waits until the rollout has failed; why."""
        shown: dict[str, Any] = {}

        async def is_so() -> bool:
            shown.update(await self.show(model_id))
            return shown["state"] == "failed" or shown.get("reason") is not None

        await until(is_so)
        return str(shown["reason"])


class Disk:
    """What one Ollama says of itself, behind the gateway's back."""

    def __init__(self, ollama: Ollama) -> None:
        self._ollama = ollama

    def get(self, path: str) -> Any:
        """What it answers."""
        with httpx.Client(base_url=self._ollama.url, trust_env=False, timeout=CALL_SECONDS) as http:
            return http.get(path).json()["models"]

    def post(self, path: str, **body: Any) -> Any:
        """What it answers; it must go well."""
        with httpx.Client(base_url=self._ollama.url, trust_env=False, timeout=CALL_SECONDS) as http:
            reply = http.post(path, json={**body, "stream": False})
            assert reply.status_code == 200, reply.text
            return reply.json() if reply.content else None

    def delete(self, name: str) -> None:
        """Takes a name away."""
        with httpx.Client(base_url=self._ollama.url, trust_env=False, timeout=CALL_SECONDS) as http:
            assert http.request("DELETE", "/api/delete", json={"model": name}).status_code == 200

    @property
    def names(self) -> set[str]:
        """On its disk."""
        return {one["name"] for one in self.get("/api/tags")}

    @property
    def made(self) -> set[str]:
        """Of those, what a gateway made."""
        return {name for name in self.names if read_made(name)}

    @property
    def loaded(self) -> dict[str, dict[str, Any]]:
        """What /api/ps lists, by name."""
        return {one["name"]: one for one in self.get("/api/ps")}

    def calls(self, path: str) -> int:
        """How many calls to this path it has answered so far, by its own log."""
        return len(re.findall(rf'"{path}"', self._ollama.log.read_text(errors="replace")))
