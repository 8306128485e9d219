"""The key of the hash chain: from a file, or made once beside the store."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from ai_gateway.config.files import LEAST_KEY_BYTES, MOST_KEY_BYTES
from ai_gateway.config.reading import read


def read_key(path: Path) -> bytes:
    """The key in a file. Raises OSError, also for one that is too short."""
    path.stat()  # a file that is missing is FileNotFoundError: it can be made
    key = read(path, MOST_KEY_BYTES).data.strip()
    if len(key) < LEAST_KEY_BYTES:
        raise OSError(f"{path} holds {len(key)} bytes; a key needs at least {LEAST_KEY_BYTES}")
    return key


def read_or_make_key(path: Path) -> bytes:
    """The key in a file that only its owner can read; made if it is not there. If several make it, one wins."""
    with suppress(FileNotFoundError):
        return read_key(path)
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        _write(new, secrets.token_hex(LEAST_KEY_BYTES).encode())
        with suppress(FileExistsError):
            os.link(new, path)
    finally:
        new.unlink(missing_ok=True)
    return read_key(path)


def put_back(path: Path, key: bytes) -> None:
    """Writes a key that was made here where it is missing. Raises OSError where another one is in its place."""
    if not path.exists():
        _write(path, key)
    elif read_key(path) != key:
        raise OSError(f"{path} holds another key than the one that entries are chained with")


def _write(path: Path, key: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(key + b"\n")
        file.flush()
        os.fsync(file.fileno())
