"""Certificates and keys in PEM, read without waiting: neither for a pipe nor for a pass phrase."""

import ssl
from pathlib import Path
from typing import Final

from ai_gateway.config.reading import Unreadable, missing, read, shown

MAX_BYTES: Final = 4 << 20  # a bundle of all public CAs has a quarter of a megabyte


class PemError(ValueError):
    """A certificate, key or CA bundle cannot be used; the text is the reason."""


def read_pem(path: str | Path) -> bytes:
    """The content of a file, not parsed yet. Raises PemError."""
    failure = missing(str(path))
    if failure is not None:
        raise PemError(failure)
    try:
        content = read(Path(path), MAX_BYTES).data
    except Unreadable as error:
        raise PemError(str(error)) from None
    if len(content) > MAX_BYTES:
        raise PemError(f"{shown(path)} is larger than {MAX_BYTES} bytes")
    return content


def load_chain(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Gives a context a certificate with its chain and key. Raises PemError."""
    for path in (certificate, key):
        read_pem(path)
    try:
        context.load_cert_chain(certificate, key, password=_no_pass_phrase)
    except _PassPhraseAskedError:
        raise PemError(
            f"{key} is encrypted, and the gateway cannot ask you for the pass phrase: store it without one, "
            "for example with `openssl pkey -in KEY -out NEW`"
        ) from None
    except (OSError, ValueError) as error:
        raise PemError(f"{certificate} and {key} cannot be used together: {_reason_of(error)}") from None


def load_authorities(context: ssl.SSLContext, path: str | Path) -> None:
    """Lets a context trust the CAs of a bundle. Raises PemError."""
    read_pem(path)
    try:
        context.load_verify_locations(path)
    except (OSError, ValueError) as error:
        raise PemError(f"{path} contains no CA certificate in PEM: {_reason_of(error)}") from None


def client_context(ca_file: str | None = None) -> ssl.SSLContext:
    """A context that checks servers against a CA bundle, or the system's. Takes a while; raises PemError."""
    if ca_file is None:
        return ssl.create_default_context()
    read_pem(ca_file)
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError) as error:
        raise PemError(f"{ca_file} contains no CA certificate in PEM: {_reason_of(error)}") from None


class _PassPhraseAskedError(Exception):
    """OpenSSL asked for a pass phrase."""


def _no_pass_phrase() -> str:
    raise _PassPhraseAskedError


def _reason_of(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).lower().replace("_", " ")
    return getattr(error, "strerror", None) or str(error)
