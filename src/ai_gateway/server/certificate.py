"""The server's certificate, exchanged in place when its files change (cert-manager, Kubernetes Secrets)."""

import asyncio
import hashlib
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ai_gateway.config.pem import PemError, load_authorities, load_chain, read_pem
from ai_gateway.config.threads import run_in_thread
from ai_gateway.server.listen import ListenError


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """PEM files: a chain, its key without a password, and the CA of clients where they must show a certificate."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """All that there are."""
        return (self.certificate, self.key) if self.client_ca is None else (self.certificate, self.key, self.client_ca)


class Certificate:
    """A TLS context that follows its files. Changes at `reload`; connections that are open keep what they have.

    The listener holds `context` for good. Each handshake goes on with the newest one: a context can be given
    another certificate, but a CA that it once trusted cannot be taken from it.
    """

    def __init__(self, files: CertificateFiles) -> None:
        self._files = files
        self._reason = ""
        try:
            self.context = self._newest = _context(files)
            self._stamp = _stamp(files)
            self._digest = _digest(files)
        except (OSError, PemError) as error:
            raise ListenError(f"cannot use {_named(files)}: {error}") from error
        self.context.sni_callback = self._go_on

    def _go_on(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        """Called in each handshake, also of a client that names no server."""
        connection.context = self._newest

    def reload(self) -> str | None:
        """Take over changed files; returns the complaint about those that are broken, once."""
        try:
            stamp = _stamp(self._files)
            if stamp == self._stamp:
                return None
            digest = _digest(self._files)
            if digest != self._digest:
                self._newest = _context(self._files)
            self._stamp, self._digest = stamp, digest
        except (OSError, PemError) as error:
            reason = f"{_named(self._files)} were not taken over, the last good ones stay: {error}"
            is_new = reason != self._reason
            self._reason = reason
            return reason if is_new else None
        self._reason = ""
        return None

    async def watch(self, complain: Callable[[str], None], poll_seconds: float) -> None:
        """Reload for ever. Files are read in a thread, one look at a time."""
        while True:
            await asyncio.sleep(poll_seconds)
            reason = await run_in_thread(self.reload, "certificate")  # the files may be long, or on a mount that hangs
            if reason is not None:
                complain(reason)


def _context(files: CertificateFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    load_chain(context, files.certificate, files.key)
    if files.client_ca is not None:
        # In TLS 1.2 a certificate goes over the line in plain, and its tickets would outlive a CA that is taken away.
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.num_tickets = 0
        context.verify_mode = ssl.CERT_REQUIRED
        load_authorities(context, files.client_ca)
    return context


def _named(files: CertificateFiles) -> str:
    return " with ".join(map(str, files.paths))


def _stamp(files: CertificateFiles) -> tuple[int, ...]:
    stamp: list[int] = []
    for path in files.paths:
        status = os.stat(path)
        stamp += (status.st_ino, status.st_size, status.st_mtime_ns)
    return tuple(stamp)


def _digest(files: CertificateFiles) -> bytes:
    return hashlib.sha256(b"\0".join(map(read_pem, files.paths))).digest()
