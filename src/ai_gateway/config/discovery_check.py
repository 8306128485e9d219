"""Checks of `discovery` that its types cannot make: valid addresses, and names that Kubernetes accepts."""

import re
from collections.abc import Iterator
from typing import Final

from ai_gateway.config.reason import ConfigReason
from ai_gateway.config.types import Discovery, Kubernetes, StaticUpstream
from ai_gateway.wire.address import parse_endpoint
from ai_gateway.wire.hosts import is_host

_DNS_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
# A label's name or value, and a requirement of a selector (Kubernetes: labels.Parse).
_WORD: Final = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_KEY: Final = rf"(?:[a-z0-9](?:[a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_WORD}"
_REQUIREMENT: Final = re.compile(
    rf"\s*(?:!\s*{_KEY}|{_KEY}(?:\s*(?:==?|!=)\s*(?:{_WORD})?|\s*[<>]\s*-?[0-9]+"
    rf"|\s+(?:in|notin)\s*\(\s*(?:{_WORD})?(?:\s*,\s*(?:{_WORD})?)*\s*\))?)\s*"
)
MOST_CHARACTERS: Final = 4096  # of a selector: no real one is longer, and patterns stay quick
_BETWEEN_REQUIREMENTS: Final = re.compile(r",(?![^(]*\))")


def check_discovery(discovery: Discovery | None) -> Iterator[ConfigReason]:
    """Every reason to refuse `discovery`."""
    if discovery is None:
        return
    named = [key for key in ("static", "dns", "kubernetes") if getattr(discovery, key) is not None]
    if len(named) > 1:
        yield ConfigReason("discovery", f"only one of {', '.join(named)} can be used: remove the others")
    if discovery.kubernetes is not None:
        yield from _check_kubernetes(discovery.kubernetes)
    if discovery.dns is not None and not is_host(discovery.dns.name):
        name = discovery.dns.name
        yield ConfigReason("discovery.dns.name", f"{name!r} is not a host name (set the port with `port`)")
    for index, upstream in enumerate(discovery.static or ()):
        url = upstream.url if isinstance(upstream, StaticUpstream) else upstream
        try:
            parse_endpoint(url)
        except ValueError as error:
            yield ConfigReason(f"discovery.static[{index}]", str(error))


def _check_kubernetes(kubernetes: Kubernetes) -> Iterator[ConfigReason]:
    path = "discovery.kubernetes"
    if (kubernetes.mode == "endpointslices") != (kubernetes.service is not None):
        yield ConfigReason(f"{path}.service", "belongs to the mode endpointslices: set both, or neither")
    for index, namespace in enumerate(kubernetes.namespaces):
        if not _DNS_LABEL.fullmatch(namespace):
            yield ConfigReason(f"{path}.namespaces[{index}]", f"{namespace!r} is not a valid namespace")
    for key in ("service", "port_name"):
        name = getattr(kubernetes, key)
        if name is not None and not _DNS_LABEL.fullmatch(name):
            yield ConfigReason(f"{path}.{key}", f"{name!r} is not a valid Kubernetes name")
    selector = kubernetes.label_selector
    if selector.strip() and not _is_selector(selector):
        yield ConfigReason(
            f"{path}.label_selector",
            f"{selector!r} is not a label selector; write one such as app=ollama,tier in (a,b)",
        )


def _is_selector(text: str) -> bool:
    if len(text) > MOST_CHARACTERS:
        return False
    return all(map(_REQUIREMENT.fullmatch, _BETWEEN_REQUIREMENTS.split(text)))
