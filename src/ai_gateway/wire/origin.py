"""Origins and hosts as browsers write them, and the patterns that `cors.origins` and `hosts` may hold.

Bytes and text in, values or a reason out; nothing here waits. Sources: RFC 6454 6.2 and the URL standard (how an
origin is written), RFC 9110 4.2.3 (what is the same host and port).
"""

import ipaddress
import re
from typing import Final, NamedTuple

MAX_CHARACTERS: Final = 300  # a host name has 253
ANY: Final = "*"
# The browser makes their hosts for each extension or installation: you cannot know them in advance.
EXTENSION_SCHEMES: Final = ("chrome-extension", "moz-extension", "safari-web-extension", "safari-extension")

# Below a country's two letters these belong to a registry, as in co.uk: anybody can own a name below them.
_OF_REGISTRIES: Final = ("ac", "co", "com", "edu", "gov", "mil", "net", "org")
_USUAL_PORTS: Final = {"http": 80, "https": 443}
_ANY_PORT: Final = -1
_ORIGIN: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://(\[[0-9A-Fa-f:.]+\]|[^/?#@:\[\]\s]+)(?::(\d{1,5}|\*))?")
_AUTHORITY: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::(\d{1,5}))?")
_LABELS: Final = re.compile(r"(?=.{1,253}$)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")


class Origin(NamedTuple):
    """In lower case; a usual port is None, so that `https://a` and `https://a:443` are equal."""

    scheme: str
    host: str
    port: int | None


class Pattern(NamedTuple):
    """An origin, or many: by any port, by labels before `host`, or by any host where `host` is empty."""

    scheme: str
    host: str
    port: int | None
    is_wide: bool

    def matches(self, origin: Origin) -> bool:
        """Whether the pattern covers this origin."""
        if self.scheme != origin.scheme or self.port not in (_ANY_PORT, origin.port):
            return False
        return covers(self.host, self.is_wide, origin.host)


def covers(host: str, is_wide: bool, other: str) -> bool:
    """Whether a pattern's host covers another host: itself, or every name below it."""
    return other.endswith("." + host if host else "") if is_wide else other == host


def read_origin(text: str) -> Origin | None:
    """The value of an `Origin` header; None for `null` and for a text that no browser writes."""
    found = _ORIGIN.fullmatch(text) if len(text) <= MAX_CHARACTERS else None
    if found is None or found[3] == ANY:
        return None
    host = read_host(found[2])
    return None if host is None else _origin(found[1], host, found[3])


def _origin(scheme: str, host: str, port: str | None) -> Origin:
    scheme = scheme.lower()
    number = None if port is None else int(port)
    return Origin(scheme, host, None if number == _USUAL_PORTS.get(scheme) else number)


def read_host(text: str) -> str | None:
    """A host name or IP address (IPv6 in brackets) in its only spelling; None for any other text."""
    text = text.lower()
    if text.startswith("["):
        try:
            return f"[{ipaddress.IPv6Address(text[1:-1])}]"
        except ValueError:
            return None
    if not _LABELS.fullmatch(text):
        return None
    if text.rpartition(".")[2].isdigit():  # what ends in a number is an address (URL standard, "ends in a number")
        try:
            return str(ipaddress.IPv4Address(text))
        except ValueError:
            return None
    return text


def read_authority(text: str) -> tuple[str, int | None] | None:
    """Host and port of a `Host` header; a dot at a name's end is dropped."""
    found = _AUTHORITY.fullmatch(text) if len(text) <= MAX_CHARACTERS else None
    host = None if found is None else read_host(found[1].removesuffix("."))
    if found is None or host is None:
        return None
    return host, None if found[2] is None else int(found[2])


def is_same_host(text: str, authority: str, is_tls: bool) -> bool:
    """Whether a page of this `Origin` comes from the authority that its request names.

    Without TLS the scheme may be http or https, since a proxy in front may end TLS; with TLS it is https.
    """
    origin, named = read_origin(text), read_authority(authority)
    if origin is None or named is None or origin.scheme not in (("https",) if is_tls else ("http", "https")):
        return False
    usual = _USUAL_PORTS[origin.scheme]
    return origin.host == named[0] and (origin.port or usual) == (named[1] or usual)


def read_pattern(text: str) -> Pattern:
    """An entry of `cors.origins` other than `*`. Raises ValueError with a sentence."""
    found = _ORIGIN.fullmatch(text) if len(text) <= MAX_CHARACTERS else None
    if found is None:
        raise ValueError(
            f"{text!r} is not an origin: write scheme, host and port without a path, as in https://app.example"
        )
    scheme, host = found[1].lower(), found[2]
    if host == ANY:
        if scheme not in EXTENSION_SCHEMES or found[3] is not None:
            schemes = ", ".join(f"{known}://*" for known in EXTENSION_SCHEMES)
            raise ValueError(f'{text!r}: "*" may be a whole host only in {schemes}; for every origin write "*"')
        return Pattern(scheme, "", None, is_wide=True)
    name, is_wide = _host_pattern(host, text)
    if found[3] == ANY:
        return Pattern(scheme, name, _ANY_PORT, is_wide)
    if found[3] is not None and not 0 < int(found[3]) < 65536:
        raise ValueError(f"{text!r}: {found[3]} is not a port")
    origin = _origin(scheme, name, found[3])
    return Pattern(origin.scheme, origin.host, origin.port, is_wide)


def read_host_pattern(text: str) -> tuple[str, bool]:
    """An entry of `hosts` other than `*`: a host, and whether it covers the names below it. Raises ValueError."""
    if len(text) > MAX_CHARACTERS:
        raise ValueError("is longer than any host name")
    if ":" in text and not text.startswith("["):
        try:
            return f"[{ipaddress.IPv6Address(text)}]", False
        except ValueError:
            raise ValueError(f"{text!r}: name the host alone, without scheme and port") from None
    return _host_pattern(text, text)


def _host_pattern(host: str, text: str) -> tuple[str, bool]:
    is_wide = host.startswith("*.")
    name = read_host(host.removeprefix("*."))
    if name is None and not host.isascii():
        raise ValueError(f"{text!r}: write the host as browsers send it, in ASCII (xn--...)")
    if name is None and ANY in host.removeprefix("*."):
        raise ValueError(f'{text!r}: "*" may stand for a port, or for the labels before a host, as in *.example.com')
    if name is None:
        raise ValueError(f"{text!r} has no host name or IP address")
    if is_wide and not _has_one_owner(name):
        owner = "a host that has one owner: two labels or more, and not a registry's such as co.uk"
        raise ValueError(f'{text!r}: after "*." write {owner}')
    return name, is_wide


def _has_one_owner(name: str) -> bool:
    """Whether one owner may have all names below it; a guess, without the list of public suffixes."""
    before, _, last = name.rpartition(".")
    return bool(before) and not last.isdigit() and not (len(last) == 2 and before in _OF_REGISTRIES)


class Origins:
    """`cors.origins`, read. Frozen; raises ValueError for an entry that `read_pattern` refuses."""

    def __init__(self, texts: tuple[str, ...]) -> None:
        self.is_open = ANY in texts
        self._patterns = tuple(read_pattern(text) for text in texts if text != ANY)

    def names(self, text: str) -> bool:
        """Whether an `Origin` header matches a name or a pattern; an entry `*` does not count."""
        origin = read_origin(text)
        return origin is not None and any(pattern.matches(origin) for pattern in self._patterns)

    def allows(self, text: str) -> bool:
        """Whether pages of this origin may call the gateway."""
        return self.is_open or self.names(text)

    def has_host(self, host: str) -> bool:
        """Whether one of the origins has this host."""
        return any(covers(pattern.host, pattern.is_wide, host) for pattern in self._patterns if pattern.host)
