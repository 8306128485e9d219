"""Checks of `auth` and `callers` that their types cannot make."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ai_gateway.config.access import Auth, CallerRule, Oidc, is_on
from ai_gateway.config.reason import ConfigReason
from ai_gateway.wire.hosts import split_url

if TYPE_CHECKING:
    from ai_gateway.config.types import Config


def check_access(config: "Config") -> Iterator[ConfigReason]:
    """Every reason to refuse `auth` and `callers`."""
    yield from _check_auth(config.auth)
    if config.callers is not None and not is_on(config.auth):
        yield ConfigReason("callers", "needs authentication: set `auth.methods` to something other than `none`")
    for index, rule in enumerate(config.callers or ()):
        yield from _check_rule(rule, f"callers[{index}]", config.auth)


def _check_auth(auth: Auth) -> Iterator[ConfigReason]:
    if "none" in auth.methods and len(auth.methods) > 1:
        yield ConfigReason(
            "auth.methods",
            "`none` lets everyone in, so the gateway would never ask the other methods: remove `none` or the others",
        )
    if len(set(auth.methods)) < len(auth.methods):
        yield ConfigReason("auth.methods", "names a method twice: remove one of them")
    if ("keys" in auth.methods) != (auth.keys_file is not None):
        yield ConfigReason("auth.keys_file", "belongs to the method `keys`: set both, or neither")
    if ("oidc" in auth.methods) != (auth.oidc is not None):
        yield ConfigReason("auth.oidc", "belongs to the method `oidc`: set both, or neither")
    if auth.oidc is not None:
        yield from _check_oidc(auth.oidc)


def _check_oidc(oidc: Oidc) -> Iterator[ConfigReason]:
    for key in ("issuer", "jwks_url"):
        url = getattr(oidc, key)
        if url is not None and not _is_url(url):
            yield ConfigReason(
                f"auth.oidc.{key}", f"{url!r} is not an https URL: use https (http is accepted only on loopback)"
            )


def _is_url(url: str) -> bool:
    try:
        parts = split_url(url, ("https", "http"))
    except ValueError:
        return False
    return parts.scheme == "https" or parts.hostname in ("127.0.0.1", "::1", "localhost")


def _check_rule(rule: CallerRule, path: str, auth: Auth) -> Iterator[ConfigReason]:
    match = rule.match
    if match.serviceaccount is not None:
        if match.serviceaccount.count("/") != 1:
            yield ConfigReason(f"{path}.match.serviceaccount", f"{match.serviceaccount!r} is not NAMESPACE/NAME")
        if "kubernetes" not in auth.methods:
            yield ConfigReason(f"{path}.match.serviceaccount", "needs the method `kubernetes`: add it to auth.methods")
    if match.key is not None and "keys" not in auth.methods:
        yield ConfigReason(f"{path}.match.key", "needs the method `keys`: add it to auth.methods")
