"""The files of the first spools: each is read once, into the database that took their place.

A record is its length and CRC-32 (4 bytes each, big-endian), the entry's hash (32 bytes) and its JSON.
"""

import logging
import struct
import zlib
from pathlib import Path
from typing import Final

log = logging.getLogger("ai_gateway.audit")

_HEAD: Final = struct.Struct(">II")
_HASH_BYTES: Final = 32


def segments(folder: Path) -> list[Path]:
    """The files, the oldest first."""
    return sorted(file for file in folder.glob("*.spool") if file.stem.isdecimal())


def read_segment(path: Path) -> tuple[list[tuple[bytes, bytes]], int]:
    """Hashes and JSON of the whole records, and how many bytes follow them. Raises OSError."""
    content = path.read_bytes()
    found: list[tuple[bytes, bytes]] = []
    end = 0
    while end + _HEAD.size <= len(content):
        length, checksum = _HEAD.unpack_from(content, end)
        record = content[end + _HEAD.size : end + _HEAD.size + length]
        if length <= _HASH_BYTES or len(record) < length or zlib.crc32(record) != checksum:
            break
        found.append((record[:_HASH_BYTES], record[_HASH_BYTES:]))
        end += _HEAD.size + length
    log.warning("%d entries of %s wait in the new spool now", len(found), path)
    return found, len(content) - end


def put_away(path: Path, rest_bytes: int) -> None:
    """Removes a file that was read; one with bytes that cannot be read is kept under another name. Raises OSError."""
    if not rest_bytes:
        path.unlink()
        return
    kept = path.rename(path.with_name(f"{path.name}.damaged"))
    log.error("%d bytes of an old spool cannot be read, and stay in %s", rest_bytes, kept)
