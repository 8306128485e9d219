"""The files that a config names: one row per key, with the check of its file."""

import os
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from ai_gateway.config.pem import PemError, client_context, load_authorities, load_chain, read_pem
from ai_gateway.config.reading import Unreadable, missing, read, read_text
from ai_gateway.config.reason import ConfigReason
from ai_gateway.config.types import StaticUpstream

if TYPE_CHECKING:
    from ai_gateway.config.serving import Tls
from ai_gateway.config.types import Config

LEAST_KEY_BYTES: Final = 32  # of the audit's hash chain
MOST_KEY_BYTES: Final = 1 << 20


class FileSnapshot(NamedTuple):
    """The files that a refused config names, and their state before the gateway read them."""

    files: tuple[str, ...] = ()
    state: tuple[object, ...] = ()

    @property
    def has_changed(self) -> bool:
        """Whether one of them appeared or changed since. Costs one stat per file."""
        return bool(self.files) and signatures(self.files) != self.state


class NamedFile(NamedTuple):
    """A file that must exist. `key` is the path of its key; `check` returns the reason to refuse the file."""

    key: str
    file: str
    check: Callable[[str], str | None]


def named_files(config: "Config") -> Iterator[NamedFile]:
    """All of them except the keys file. AuthState follows that one, and it may appear later."""
    for index, upstream in enumerate((config.discovery and config.discovery.static) or ()):
        if isinstance(upstream, StaticUpstream) and upstream.ca_file:
            yield NamedFile(f"discovery.static[{index}].ca_file", upstream.ca_file, _ca_reason)
    limits = config.limits
    sections: dict[str, object] = {
        "auth.oidc": config.auth.oidc,
        "limits.redis": limits.redis if limits is not None else None,
        "audit": config.audit,
        "tls": config.tls,
    }
    for key, failure in _CHECKS.items():
        section, _, name = key.rpartition(".")
        file: str | None = getattr(sections[section], name, None)  # an absent section names no file
        if file:
            yield NamedFile(key, file, failure)


def file_reasons(config: "Config") -> list[ConfigReason]:
    """Every reason to refuse them. Reads files: do not call it in the event loop."""
    found = [(named.key, named.check(named.file)) for named in named_files(config)]
    reasons = [ConfigReason(key, failure) for key, failure in found if failure is not None]
    if config.tls is not None and not any(reason.path in ("tls.certificate", "tls.key") for reason in reasons):
        reasons += _pair_reasons(config.tls)
    return reasons


def signatures(files: tuple[str, ...]) -> tuple[object, ...]:
    """Values that differ once one of these files appears, disappears or changes."""
    return tuple(map(_signature, files))


def _signature(file: str) -> object:
    try:
        found = os.stat(file)
    except (OSError, ValueError) as error:
        return getattr(error, "errno", None)
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev


def _pair_reasons(tls: "Tls") -> Iterator[ConfigReason]:
    try:
        load_chain(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), Path(tls.certificate), Path(tls.key))
    except PemError as error:
        yield ConfigReason("tls.key" if "pass phrase" in str(error) else "tls.certificate", str(error))


def _pem_reason(file: str) -> str | None:
    try:
        read_pem(file)
    except PemError as error:
        return str(error)
    return None


def _text_reason(file: str) -> str | None:
    try:
        read_text(Path(file))
    except Unreadable as error:
        return missing(file) or str(error)
    return None


def _key_reason(file: str) -> str | None:
    try:
        size = len(read(Path(file), MOST_KEY_BYTES).data.strip())
    except Unreadable as error:
        return missing(file) or str(error)
    return None if size >= LEAST_KEY_BYTES else f"{file} holds {size} bytes; a key needs at least {LEAST_KEY_BYTES}"


def _ca_reason(file: str) -> str | None:
    try:
        client_context(file)
    except PemError as error:
        return str(error)
    return None


def _client_ca_reason(file: str) -> str | None:
    try:
        load_authorities(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), file)
    except PemError as error:
        return str(error)
    return None


_CHECKS: Final[dict[str, Callable[[str], str | None]]] = {
    "auth.oidc.ca_file": _ca_reason,
    "auth.oidc.token_file": _text_reason,
    "limits.redis.password_file": _text_reason,
    "limits.redis.ca_file": _ca_reason,
    "audit.dsn_file": _text_reason,
    "audit.key_file": _key_reason,
    "tls.certificate": _pem_reason,
    "tls.key": _pem_reason,
    "tls.client_ca": _client_ca_reason,
}
