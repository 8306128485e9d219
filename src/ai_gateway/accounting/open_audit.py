"""Opens the audit of a config: the writer with its store, and the reader of the archive. Closes both."""

import asyncio
import secrets
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Final

import msgspec

from ai_gateway.accounting.archive_reader import ArchiveReader
from ai_gateway.audit.checkpoint_file import second_place
from ai_gateway.audit.settings import AuditSettings, Redact
from ai_gateway.audit.stores import Collector, key_of, restored, store_pair
from ai_gateway.audit.writer import Writer
from ai_gateway.config.audit import AuditSection

OPEN_SECONDS: Final = 1.0
CHECK_SECONDS: Final = 0.002
FLUSH_SECONDS: Final = 5.0


class OpenAudit(msgspec.Struct, frozen=True):
    """The parts of an open audit. Without a `writer` it is off; without a `reader` it cannot be queried."""

    section: AuditSection = AuditSection(store="none")
    name: str = ""  # NAME/BOOT in the entries
    writer: Writer | None = None
    reader: ArchiveReader | None = None
    bytes_waiting: Callable[[], int] | None = None
    most_kept: int = 0  # bytes of a prompt or answer

    async def tried(self) -> None:
        """Waits up to OPEN_SECONDS until the writer has opened its store or failed to."""
        if self.writer is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(OPEN_SECONDS):
                while not self.writer.is_tried.is_set():  # noqa: ASYNC110 - a thread to wait in would cost memory
                    await asyncio.sleep(CHECK_SECONDS)

    async def close(self) -> None:
        """Writes what is queued, and closes the store."""
        if self.writer is not None:
            await asyncio.to_thread(self.writer.stop, FLUSH_SECONDS)
        if self.reader is not None:
            await self.reader.close()


def open_audit(section: AuditSection, environment: Mapping[str, str], write_line: Callable[[bytes], None]) -> OpenAudit:
    """Starts the thread that opens the store and writes to it."""
    if section.store == "none":
        return OpenAudit(section)
    store, archive, bytes_waiting = store_pair(section, environment, _collector)
    redact, most_kept = _redaction(section)
    settings = AuditSettings(
        writer=f"{socket.gethostname()}/{secrets.token_hex(4)}",
        key=partial(key_of, section, environment),
        keep_seconds=section.keep,
        max_bytes=section.max_size,
        redact=redact,
        sink=second_place(section.checkpoints, write_line),
        signs_of_life=section.mode == "strict" or section.store == "postgresql",
        begins_anew=section.mode == "best_effort",
        restore_key=restored(section, environment),
    )
    writer = Writer(store, settings, asyncio.get_running_loop())
    writer.start()
    reader = None if archive is None else ArchiveReader(archive)
    return OpenAudit(section, settings.writer, writer, reader, bytes_waiting, most_kept)


def _redaction(section: AuditSection) -> tuple[Redact | None, int]:
    """The redaction, and how many bytes it gets. Imported only if the audit keeps content."""
    if section.level == "metadata":
        return None, 0
    from ai_gateway.audit.redaction import OVERLAP, redaction

    return redaction(section.redact, section.max_content), section.max_content + OVERLAP  # cut when redacted


def _collector(environment: Mapping[str, str]) -> Collector:
    """Imports the SDK, only if entries go to a collector."""
    from ai_gateway.telemetry.audit_export import AuditExport

    export = AuditExport(environment)
    return Collector(export, export.close)
