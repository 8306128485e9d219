"""Follows config.yml while the gateway runs: read, check, hand over; what is wrong is kept and shown, never used."""

import asyncio
import hashlib
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ai_gateway.config.loading import Complaint, ConfigError, parse
from ai_gateway.config.types import Config, restart_required

log = logging.getLogger("ai_gateway.config")

# A look costs one stat. It works on every file system, on a ConfigMap's swapped link and over a network mount,
# where the kernel's file notices do not all arrive.
LOOK_SECONDS: Final = 0.5


class ConfigFile:
    """The file, its last good config and the last complaints. Changed by `look` alone.

    `config` is None until a valid one was found. `apply` is called with each new good config.
    """

    def __init__(self, path: Path, apply: Callable[[Config], None]) -> None:
        self.path = path
        self._apply = apply
        self._signature: object = None
        self._content: bytes | None = None
        self._started: Config | None = None
        self.config: Config | None = None
        self.complaints: list[Complaint] = []
        self.digest: str | None = None  # sha256 of the content in force, shortened
        self.loaded_at: float | None = None  # Unix seconds

    @property
    def restart_required(self) -> list[str]:
        """Paths that were changed since the start and wait for a restart."""
        if self._started is None or self.config is None:
            return []
        return restart_required(self._started, self.config)

    def look(self) -> None:
        """Reads the file if it seems changed, and applies it if its content is new and valid."""
        signature = self._stat()
        if signature == self._signature and signature is not None:
            return
        try:
            content = self.path.read_bytes()
        except OSError as error:
            self._signature = self._content = None
            self._refuse([Complaint("", f"cannot read {self.path}: {error.strerror}")])
            return
        self._signature = signature
        if content == self._content:
            return
        self._content = content
        try:
            config = parse(content)
        except ConfigError as error:
            self._refuse(error.complaints)
            return
        self._accept(config, content)

    async def follow(self) -> None:
        """Looks again and again."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                self.look()
            except Exception:  # a fault of ours in one reload must not end all later ones
                log.exception("config: the change could not be applied")

    def _stat(self) -> object:
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev

    def _refuse(self, complaints: list[Complaint]) -> None:
        if complaints == self.complaints:
            return
        self.complaints = complaints
        kept = "the last good one stays in force" if self.config else "nothing is served until it is mended"
        for complaint in complaints:
            log.error("config refused, %s: %s", kept, complaint)

    def _accept(self, config: Config, content: bytes) -> None:
        self.complaints = []
        self._started = self._started or config
        is_first = self.config is None
        self.config = config
        self.digest = hashlib.sha256(content).hexdigest()[:16]
        self.loaded_at = time.time()
        self._apply(config)
        log.info("config %s: %d models, %s", "loaded" if is_first else "reloaded", len(config.models), self.digest)
        for path in self.restart_required:
            log.warning("config: the change of %s takes effect with a restart", path)
