"""The files that a config names: a row for each key that names one, and what must be true of it."""

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


class Awaited(NamedTuple):
    """The files that content was refused for, and what they looked like before they were read."""

    files: tuple[str, ...] = ()
    seen: tuple[object, ...] = ()

    @property
    def has_changed(self) -> bool:
        """Whether one of them has come or changed since. Costs a stat each."""
        return bool(self.files) and signatures(self.files) != self.seen


class NamedFile(NamedTuple):
    """A file that must be there, by the path of the key that names it; `fault` says what is wrong with its content."""

    key: str
    file: str
    failure: Callable[[str], str | None]


def named_files(config: "Config") -> Iterator[NamedFile]:
    """All of them but the file of keys, which is followed by itself and may come late."""
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
    for key, failure in _FAULTS.items():
        section, _, name = key.rpartition(".")
        file: str | None = getattr(sections[section], name, None)  # a section that is not there names none
        if file:
            yield NamedFile(key, file, failure)


def file_reasons(config: "Config") -> list[ConfigReason]:
    """What is wrong with them. Reads files: not for the event loop."""
    found = [(named.key, named.failure(named.file)) for named in named_files(config)]
    reasons = [ConfigReason(key, failure) for key, failure in found if failure is not None]
    if config.tls is not None and not any(reason.path in ("tls.certificate", "tls.key") for reason in reasons):
        reasons += _pair_reasons(config.tls)
    return reasons


def signatures(files: tuple[str, ...]) -> tuple[object, ...]:
    """What changes when one of these files comes, goes or changes."""
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
    return None if size >= LEAST_KEY_BYTES else f"{file} holds {size} bytes; a key has {LEAST_KEY_BYTES} or more"


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


_FAULTS: Final[dict[str, Callable[[str], str | None]]] = {
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
