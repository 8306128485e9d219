"""The server's certificate, replaced when its files change (cert-manager, Kubernetes Secrets)."""

import asyncio
import hashlib
import logging
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ai_gateway.config.pem import PemError, load_authorities, load_chain, read_pem
from ai_gateway.config.threads import run_in_thread
from ai_gateway.failure_log import FailureLog
from ai_gateway.server.listen import ListenError

log = logging.getLogger("ai_gateway.server")


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """PEM files: a chain, its key without a password, and the CA of clients if they need a certificate."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """All paths that are set."""
        return (self.certificate, self.key) if self.client_ca is None else (self.certificate, self.key, self.client_ca)


class Certificate:
    """A TLS context that follows its files. Changed by `reload`; open connections keep their certificate.

    The listener keeps `context` for good. Each handshake switches to the newest context: a context can get
    another certificate, but it cannot lose a CA that it trusts.
    """

    def __init__(self, files: CertificateFiles) -> None:
        self._files = files
        self._reason = ""
        self._failures = FailureLog(log)
        try:
            self.context = self._newest = _context(files)
            self._stamp = _stamp(files)
            self._digest = _digest(files)
        except (OSError, PemError) as error:
            raise ListenError(f"cannot use {_named(files)}: {error}") from error
        self.context.sni_callback = self._go_on

    def _go_on(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        """OpenSSL calls it in each handshake, also if the client names no server."""
        connection.context = self._newest

    def reload(self) -> str | None:
        """Loads changed files. Returns the reason if they are broken, once."""
        try:
            stamp = _stamp(self._files)
            if stamp == self._stamp:
                return None
            digest = _digest(self._files)
            if digest != self._digest:
                self._newest = _context(self._files)
            self._stamp, self._digest = stamp, digest
        except (OSError, PemError) as error:
            reason = f"cannot use {_named(self._files)}, the last good certificate stays in use: {error}"
            is_new = reason != self._reason
            self._reason = reason
            return reason if is_new else None
        self._reason = ""
        return None

    async def watch(self, on_failure: Callable[[str], None], poll_seconds: float) -> None:
        """Reloads for ever. A thread reads the files."""
        while True:
            await asyncio.sleep(poll_seconds)
            try:
                # In a thread: the files may be large, or on a mount that hangs.
                reason = await run_in_thread(self.reload, "certificate")
            except Exception as failure:  # an unexpected failure of one check must not end the checks
                self._failures.note(failure, "%s could not be checked", _named(self._files))
                continue
            if reason is not None:
                on_failure(reason)


def _context(files: CertificateFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    load_chain(context, files.certificate, files.key)
    if files.client_ca is not None:
        # TLS 1.2 sends a certificate in plain text, and its session tickets would outlive a removed CA.
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
