"""Certificates and keys in PEM, read without waiting: for no pipe, and for nobody who could tell a pass phrase."""

import os
import ssl
import stat
from pathlib import Path
from typing import Final

MAX_BYTES: Final = 4 << 20  # a bundle of all public CAs has a quarter of a megabyte


class PemError(ValueError):
    """A certificate, key or CA bundle that cannot be used; the text is one sentence for a person."""


def read_regular(path: str | Path, most: int = MAX_BYTES) -> bytes:
    """The content of a file that is one, and no pipe, device or folder. Raises OSError, whose text says why."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:  # a NUL in its name
        raise OSError(str(error)) from None
    with os.fdopen(number, "rb") as file:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise OSError(f"{path} is a folder, a pipe or a device, and no file")
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(f"{path} is larger than {most} bytes")
    return content


def load_chain(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Gives a context a certificate with its chain and key. Raises PemError."""
    for path in (certificate, key):
        _refuse_unread(path)
    try:
        context.load_cert_chain(certificate, key, password=_no_pass_phrase)
    except _PassPhraseAskedError:
        raise PemError(
            f"{key} is encrypted, and there is nobody to ask for its pass phrase: write it without one, "
            "as `openssl pkey -in KEY -out NEW` does"
        ) from None
    except (OSError, ValueError) as error:
        raise PemError(f"{certificate} with {key} cannot be used: {_told(error)}") from None


def load_authorities(context: ssl.SSLContext, path: str | Path) -> None:
    """Lets a context trust the CAs of a bundle. Raises PemError."""
    _refuse_unread(path)
    try:
        context.load_verify_locations(path)
    except (OSError, ValueError) as error:
        raise PemError(f"{path} holds no CA certificate in PEM: {_told(error)}") from None


def client_context(ca_file: str | None = None) -> ssl.SSLContext:
    """A context that checks servers against a CA bundle, or the system's. Takes a while; raises PemError."""
    if ca_file is None:
        return ssl.create_default_context()
    _refuse_unread(ca_file)
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError) as error:
        raise PemError(f"{ca_file} holds no CA certificate in PEM: {_told(error)}") from None


class _PassPhraseAskedError(Exception):
    """OpenSSL wants a pass phrase."""


def _no_pass_phrase() -> str:
    raise _PassPhraseAskedError


def _refuse_unread(path: str | Path) -> None:
    try:
        read_regular(path)
    except OSError as error:
        raise PemError(why_unread(path, error)) from None


def why_unread(path: str | Path, error: OSError) -> str:
    """One sentence about a file that cannot be read."""
    if isinstance(error, FileNotFoundError):
        return f"there is no file {path}"
    return f"cannot read {path}: {error.strerror}" if error.strerror else str(error)


def _told(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).lower().replace("_", " ")
    return getattr(error, "strerror", None) or str(error)
