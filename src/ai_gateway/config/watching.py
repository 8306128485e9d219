"""Follows config.yml as a file while the gateway runs: read it when it has changed and is whole, hand it over."""

import asyncio
from pathlib import Path
from typing import Final, Protocol

from ai_gateway.config.beside import beside
from ai_gateway.config.loading import FILE_NAME, MAX_BYTES
from ai_gateway.config.reading import Unreadable, shown
from ai_gateway.config.reason import ConfigReason
from ai_gateway.config.steady import REST_SECONDS, Steady

FAILURE_SECONDS: Final = 10.0  # of changes without a rest: somebody should know


class Taker(Protocol):
    """Who takes what a file gives: the config in force, or whoever stands before it."""

    unseen_reason: str | None

    async def submit(self, content: bytes) -> list[ConfigReason]:
        """The file has this content."""

    async def check_again(self) -> None:
        """The file is as it was."""

    def config_missing(self, reason: str) -> None:
        """The file gives none, for that reason."""

    def fail(self, failure: Exception) -> None:
        """A look went wrong as it never should."""

    def forget(self) -> None:
        """The next content counts as new."""


class ConfigFile:
    """The file, or `config.yml` in a folder such as a mounted ConfigMap. Changed by `look` alone."""

    def __init__(self, path: Path, taker: Taker) -> None:
        self._taker = taker
        self._file = Steady(path, MAX_BYTES, FILE_NAME)

    async def check(self) -> None:
        """Reads the file if it has changed and is whole, and offers its content. A mount that hangs is waited for in a
        thread."""
        try:
            content = await beside(self._file.check, "config")
            if content is not None:
                await self._taker.submit(content)
            else:
                await self._taker.check_again()
        except Unreadable as failure:
            self._taker.config_missing(str(failure))
        except Exception as failure:  # one of ours must not end all later looks
            self._taker.fail(failure)
            self._file.expect_change()
        else:
            is_restless = self._file.restless_seconds >= FAILURE_SECONDS
            self._taker.unseen_reason = self._in_words() if is_restless else None

    def reread(self) -> None:
        """With the next look the file is read again, and its content taken as new though it may be the same."""
        self._taker.forget()
        self._file.expect_change()

    async def follow(self) -> None:
        """Looks at once, then again and again."""
        while True:
            await self.check()
            await asyncio.sleep(self._file.pause_seconds)

    def _in_words(self) -> str:
        return f"{shown(self._file.path)} changes all the time: it is read once it rests for {REST_SECONDS:g} s"
