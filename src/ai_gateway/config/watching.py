"""Follows config.yml as a file while the gateway runs: read it when it has changed and is whole, hand it over."""

import asyncio
from pathlib import Path
from typing import Final

from ai_gateway.config.beside import beside
from ai_gateway.config.live import Live
from ai_gateway.config.loading import FILE_NAME, MAX_BYTES
from ai_gateway.config.reading import Unreadable, shown
from ai_gateway.config.steady import REST_SECONDS, Steady

TROUBLE_SECONDS: Final = 10.0  # of changes without a rest: somebody should know


class ConfigFile:
    """The file, or `config.yml` in a folder such as a mounted ConfigMap. Changed by `look` alone."""

    def __init__(self, path: Path, live: Live) -> None:
        self._live = live
        self._file = Steady(path, MAX_BYTES, FILE_NAME)

    async def look(self) -> None:
        """Reads the file if it has changed and is whole, and offers its content. A mount that hangs is waited for in a
        thread."""
        try:
            content = await beside(self._file.look, "config")
            if content is not None:
                await self._live.offer(content)
            else:
                await self._live.look_again()
        except Unreadable as fault:
            self._live.lack(str(fault))
        except Exception as fault:  # one of ours must not end all later looks
            self._live.fail(fault)
            self._file.doubt()
        else:
            is_restless = self._file.restless_seconds >= TROUBLE_SECONDS
            self._live.trouble = self._in_words() if is_restless else None

    def reread(self) -> None:
        """With the next look the file is read again, and its content taken as new though it may be the same."""
        self._live.forget()
        self._file.doubt()

    async def follow(self) -> None:
        """Looks at once, then again and again."""
        while True:
            await self.look()
            await asyncio.sleep(self._file.pause_seconds)

    def _in_words(self) -> str:
        return f"{shown(self._file.path)} changes all the time: it is read once it rests for {REST_SECONDS:g} s"
