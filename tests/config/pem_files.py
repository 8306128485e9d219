"""Certificates, keys and bundles as a config names them."""

from pathlib import Path

import trustme


def write_ca(folder: Path, name: str = "ca.pem") -> Path:
    """A CA bundle."""
    path = folder / name
    trustme.CA().cert_pem.write_to_path(str(path))
    return path


def write_pair(folder: Path, name: str = "tls") -> tuple[Path, Path]:
    """A certificate with its chain, and its key."""
    issued = trustme.CA().issue_cert("localhost", "127.0.0.1")
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return certificate, key


def encrypt(key: Path) -> None:
    """Puts a pass phrase on a key."""
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    loaded = load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(loaded.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
