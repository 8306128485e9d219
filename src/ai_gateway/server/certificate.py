"""The server's certificate, exchanged in place when its files change (cert-manager, Kubernetes Secrets)."""

import asyncio
import hashlib
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ai_gateway.server.listen import ListenError


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """PEM files: a chain, and its key without a password."""

    certificate: Path
    key: Path


class Certificate:
    """A TLS context that follows its files. Changes at `reload`; connections that are open keep what they have."""

    def __init__(self, files: CertificateFiles) -> None:
        self._files = files
        self._complaint = ""
        try:
            self.context = _context(files)
            self._stamp = _stamp(files)
            self._digest = _digest(files)
        except (OSError, ssl.SSLError) as error:
            raise ListenError(f"cannot use {files.certificate} with {files.key}: {error}") from error

    def reload(self) -> str | None:
        """Take over changed files; returns the complaint about a pair that is broken, once."""
        try:
            stamp = _stamp(self._files)
            if stamp == self._stamp:
                return None
            digest = _digest(self._files)
            if digest != self._digest:
                _context(self._files)  # a trial: a failed load would leave the context in use with half a pair
                self.context.load_cert_chain(self._files.certificate, self._files.key)
            self._stamp, self._digest = stamp, digest
        except (OSError, ssl.SSLError) as error:
            complaint = f"{self._files.certificate} was not taken over, the last good one stays: {error}"
            is_new = complaint != self._complaint
            self._complaint = complaint
            return complaint if is_new else None
        self._complaint = ""
        return None

    async def watch(self, complain: Callable[[str], None], poll_seconds: float) -> None:
        """Reload for ever."""
        while True:
            await asyncio.sleep(poll_seconds)
            complaint = self.reload()
            if complaint is not None:
                complain(complaint)


def _context(files: CertificateFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(files.certificate, files.key)
    return context


def _stamp(files: CertificateFiles) -> tuple[int, ...]:
    stamp: list[int] = []
    for path in (files.certificate, files.key):
        status = os.stat(path)
        stamp += (status.st_ino, status.st_size, status.st_mtime_ns)
    return tuple(stamp)


def _digest(files: CertificateFiles) -> bytes:
    return hashlib.sha256(files.certificate.read_bytes() + b"\0" + files.key.read_bytes()).digest()
