"""Follows config.yml as a file: reads it once it has changed and is complete, and submits its content."""

import asyncio
from pathlib import Path
from typing import Final, Protocol

from ai_gateway.config.loading import FILE_NAME, MAX_BYTES
from ai_gateway.config.reading import Unreadable, shown
from ai_gateway.config.reason import ConfigReason
from ai_gateway.config.threads import run_in_thread
from ai_gateway.config.watched_file import REST_SECONDS, WatchedFile

FAILURE_SECONDS: Final = 10.0  # of constant changes: then health reports it


class ContentReceiver(Protocol):
    """Receives the content of a file: the config state, or a fallback file in front of it."""

    unseen_reason: str | None

    async def submit(self, content: bytes) -> list[ConfigReason]:
        """The file has this content; returns the reasons to refuse it."""

    async def check_again(self) -> None:
        """The file did not change."""

    def config_missing(self, reason: str) -> None:
        """The file gives no config, for this reason."""

    def fail(self, failure: Exception) -> None:
        """A check of the file failed unexpectedly."""

    def forget(self) -> None:
        """Treats the next content as new."""


class ConfigFile:
    """The file, or `config.yml` in a folder such as a mounted ConfigMap. Only `check` and `reread` change it."""

    def __init__(self, path: Path, receiver: ContentReceiver) -> None:
        self._receiver = receiver
        self._file = WatchedFile(path, MAX_BYTES, FILE_NAME)

    async def check(self) -> None:
        """Reads the file if it has changed and is complete, and submits its content.

        A thread does the reading, because a mount may hang.
        """
        try:
            content = await run_in_thread(self._file.check, "config")
            if content is not None:
                await self._receiver.submit(content)
            else:
                await self._receiver.check_again()
        except Unreadable as failure:
            self._receiver.config_missing(str(failure))
        except Exception as failure:  # a bug must not end all later checks
            self._receiver.fail(failure)
            self._file.expect_change()
        else:
            is_stuck = self._file.changing_seconds >= FAILURE_SECONDS
            self._receiver.unseen_reason = self._unseen_reason() if is_stuck else None

    def reread(self) -> None:
        """The next check reads the file again and treats its content as new, even if it is the same."""
        self._receiver.forget()
        self._file.expect_change()

    async def follow(self) -> None:
        """Checks the file now, and then again and again."""
        while True:
            await self.check()
            await asyncio.sleep(self._file.pause_seconds)

    def _unseen_reason(self) -> str:
        rest = f"the gateway reads it once it has not changed for {REST_SECONDS:g} s"
        return f"{shown(self._file.path)} keeps changing: {rest}"
