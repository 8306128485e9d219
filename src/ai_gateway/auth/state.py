"""The authentication in force: methods and rules of the config, and the keys file."""

import asyncio
import importlib
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ai_gateway.auth.authenticator import Authenticator
from ai_gateway.auth.identity import Method
from ai_gateway.config.access import Auth, CallerRule, Oidc, is_on
from ai_gateway.config.reason import failure_reason
from ai_gateway.config.threads import run_in_thread

if TYPE_CHECKING:  # a method's code is loaded when it is turned on
    from ai_gateway.auth.keys import Keys, KeysById, KeysFile
    from ai_gateway.auth.kubernetes import Review
    from ai_gateway.auth.oidc import Fetch

log = logging.getLogger("ai_gateway.auth")

CHECK_SECONDS: Final = 0.5  # between two checks for a keys file while none is configured


class PreparedAuth(NamedTuple):
    """A keys file that a thread has read for the next config."""

    path: str
    file: "KeysFile"
    keys: "Keys"
    found: "KeysById | str | None"


class AuthState:
    """`apply` changes it with each new config; `follow` changes the keys. `prepare` does slow work before, in a thread.

    `review` sends a token to the API server. `fetching` makes a function that fetches an issuer's documents. A method
    whose settings do not change keeps its cache.
    """

    def __init__(self, review: "Review", fetching: "Callable[[Oidc], Fetch]") -> None:
        self._review = review
        self._fetching = fetching
        self._auth: Auth | None = None
        self._rules: tuple[CallerRule, ...] | None = None
        self._methods: dict[str, tuple[Any, Method]] = {}  # by name, with their settings
        self._keys_file: KeysFile | None = None
        self._keys: Keys | None = None
        self._prepared: PreparedAuth | None = None
        self.authenticator: Authenticator | None = None  # None: everyone may call
        self.headers: tuple[bytes, ...] = ()  # that may carry a credential, in addition to `Authorization`

    def prepare(self, auth: Auth) -> PreparedAuth | None:
        """Reads a new keys file, and imports what the methods need. Runs in a thread."""
        if "oidc" in auth.methods:
            importlib.import_module("ai_gateway.auth.oidc")
            importlib.import_module("jwt")  # it takes a while
        if "kubernetes" in auth.methods:
            importlib.import_module("ai_gateway.auth.kubernetes")
        path = auth.keys_file
        if "keys" not in auth.methods or path is None or (self._auth is not None and self._auth.keys_file == path):
            return None
        return _read_first(path)

    def apply(self, auth: Auth, rules: tuple[CallerRule, ...] | None, prepared: PreparedAuth | None = None) -> None:
        """Puts a config's methods and rules in force."""
        if (auth, rules) == (self._auth, self._rules):
            return
        self._prepared = prepared
        before = self._methods
        self._methods = {name: self._method(name, auth) for name in auth.methods if name != "none"}
        for settings, method in before.values():
            if (settings, method) not in self._methods.values():
                method.close()
        if not is_on(auth):
            log.warning("auth: everyone can call the API, as `anonymous` (auth.methods: none)")
        elif self._auth is None or auth.methods != self._auth.methods:
            log.info("auth: callers authenticate by %s", ", ".join(auth.methods))
        self.authenticator = Authenticator(self.methods, rules) if is_on(auth) else None
        self.headers = tuple(name.encode() for name in auth.headers)
        self._auth, self._rules = auth, rules
        if "keys" not in self._methods:
            self._keys = self._keys_file = None

    @property
    def methods(self) -> Mapping[str, Method]:
        """The enabled methods, in order."""
        return {name: method for name, (_, method) in self._methods.items()}

    def _method(self, name: str, auth: Auth) -> tuple[Any, Method]:
        makers: dict[str, tuple[Any, Callable[[Any], Method]]] = {
            "keys": (auth.keys_file, self._follow_keys),
            "kubernetes": (auth.audience, self._review_tokens),
            "oidc": (auth.oidc, self._trust),
        }
        settings, make = makers[name]
        known = self._methods.get(name)
        return known if known is not None and known[0] == settings else (settings, make(settings))

    def _review_tokens(self, audience: str) -> Method:
        from ai_gateway.auth.kubernetes import ServiceAccounts

        return ServiceAccounts(self._review, audience)

    def _trust(self, oidc: Oidc) -> Method:
        from ai_gateway.auth.oidc import Issuer

        return Issuer(oidc, self._fetching(oidc))

    def _follow_keys(self, path: str) -> "Keys":
        prepared, self._prepared = self._prepared, None
        if prepared is None or prepared.path != path:
            prepared = _read_first(path)
        self._keys, self._keys_file = prepared.keys, prepared.file
        prepared.file.take(prepared.found)  # at once: the first requests need them
        return prepared.keys

    async def follow(self) -> None:
        """Reads the keys file again and again."""
        while True:
            file = self._keys_file
            await asyncio.sleep(CHECK_SECONDS if file is None else file.pause_seconds)
            if file is None or file is not self._keys_file:
                continue
            try:
                found = await run_in_thread(file.read, "keys")
                if file is self._keys_file:
                    file.take(found)
            except Exception as failure:  # the next read must happen all the same: it may revoke a key
                file.take(failure_reason(failure))
                file.reread()

    def close(self) -> None:
        """Releases the resources of the methods."""
        for method in self.methods.values():
            method.close()

    def failing(self) -> Iterator[tuple[str, bool]]:
        """Each enabled method, and whether it fails now."""
        yield from ((name, method.reason is not None) for name, method in self.methods.items())

    def status(self) -> dict[str, Any]:
        """For health: the methods, the number of keys, and why methods fail."""
        return {
            "methods": list(self.methods) or ["none"],
            "keys": None if self._keys is None else self._keys.count,
            "complaints": {name: method.reason for name, method in self.methods.items() if method.reason},
        }


def _read_first(path: str) -> PreparedAuth:
    from ai_gateway.auth.keys import Keys, KeysFile

    keys = Keys()
    file = KeysFile(Path(path), keys)
    return PreparedAuth(path, file, keys, file.read())
