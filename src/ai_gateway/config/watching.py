"""Follows config.yml as a file while the gateway runs: read it when it has changed, hand it over."""

import asyncio
import logging
import os
from pathlib import Path
from typing import Final

from ai_gateway.config.live import Live

log = logging.getLogger("ai_gateway.config")

FILE_NAME: Final = "config.yml"

# A look costs one stat. It works on every file system, on a ConfigMap's swapped link and over a network mount,
# where the kernel's file notices do not all arrive.
LOOK_SECONDS: Final = 0.5


class ConfigFile:
    """The file, or `config.yml` in a folder such as a mounted ConfigMap. Changed by `look` alone."""

    def __init__(self, path: Path, live: Live) -> None:
        self._named = path
        self._live = live
        self._signature: object = None

    @property
    def path(self) -> Path:
        """Where it is now; a folder may be mounted late."""
        return self._named / FILE_NAME if self._named.is_dir() else self._named

    def look(self) -> None:
        """Reads the file if it seems changed, and offers its content."""
        signature = self._stat()
        if signature == self._signature and signature is not None:
            return
        path = self.path
        try:
            content = path.read_bytes()
        except OSError as error:
            self._signature = None
            self._live.lack(f"cannot read {path}: {error.strerror}")
            return
        self._signature = signature
        self._live.offer(content)

    def reread(self) -> None:
        """Reads the file again, and takes its content as new though it may be the same."""
        self._signature = None
        self._live.forget()
        try:
            self.look()
        except Exception:  # the last good config stays, as after every other look
            log.exception("config: the file could not be read again")

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
