"""Who is let in at present: the methods and rules of the config in force, and the file of keys that is followed."""

import asyncio
import importlib
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ai_gateway.auth.authenticator import Authenticator
from ai_gateway.auth.identity import Method
from ai_gateway.config.access import Auth, CallerRule, Oidc, is_on
from ai_gateway.config.beside import beside
from ai_gateway.config.reason import failure_reason

if TYPE_CHECKING:  # a method's code is loaded when it is turned on
    from ai_gateway.auth.keys import Kept, Keys, KeysFile
    from ai_gateway.auth.kubernetes import Ask
    from ai_gateway.auth.oidc import Fetch

log = logging.getLogger("ai_gateway.auth")

LOOK_SECONDS: Final = 0.5  # where there is no file of keys: whether there is one now


class PreparedAuth(NamedTuple):
    """A file of keys that was read beside the loop, for a config that is about to be in force."""

    path: str
    file: "KeysFile"
    keys: "Keys"
    found: "Kept | str | None"


class AuthState:
    """Changed by `apply`, with each new config, and by `follow`, which reads the file of keys anew. What takes its
    time when a config comes, `ready` does before, in a thread.

    `review` asks the API server about a token, `fetching` makes what gets an issuer's documents. Methods whose own
    settings stay as they were keep what they remember.
    """

    def __init__(self, review: "Ask", fetching: "Callable[[Oidc], Fetch]") -> None:
        self._review = review
        self._fetching = fetching
        self._auth: Auth | None = None
        self._rules: tuple[CallerRule, ...] | None = None
        self._made: dict[str, tuple[Any, Method]] = {}  # by name, with the settings that each was made of
        self._keys_file: KeysFile | None = None
        self._keys: Keys | None = None
        self._prepared: PreparedAuth | None = None
        self.authenticator: Authenticator | None = None  # None: everyone is let in
        self.headers: tuple[bytes, ...] = ()  # that may hold a credential beside `Authorization`

    def prepare(self, auth: Auth) -> PreparedAuth | None:
        """Reads a file of keys that is not followed yet, and imports what the methods need."""
        if "oidc" in auth.methods:
            importlib.import_module("ai_gateway.auth.oidc")
            importlib.import_module("jwt")  # with cryptography it takes a while
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
        before = self._made
        self._made = {name: self._method(name, auth) for name in auth.methods if name != "none"}
        for settings, method in before.values():
            if (settings, method) not in self._made.values():
                method.close()
        if not is_on(auth):
            log.warning("auth: everyone who reaches the API is let in, as `anonymous` (auth.methods: none)")
        elif self._auth is None or auth.methods != self._auth.methods:
            log.info("auth: callers prove who they are by %s", ", ".join(auth.methods))
        self.authenticator = Authenticator(self.methods, rules) if is_on(auth) else None
        self.headers = tuple(name.encode() for name in auth.headers)
        self._auth, self._rules = auth, rules
        if "keys" not in self._made:
            self._keys = self._keys_file = None

    @property
    def methods(self) -> Mapping[str, Method]:
        """Those that are on, in their order."""
        return {name: method for name, (_, method) in self._made.items()}

    def _method(self, name: str, auth: Auth) -> tuple[Any, Method]:
        makers: dict[str, tuple[Any, Callable[[Any], Method]]] = {
            "keys": (auth.keys_file, self._follow_keys),
            "kubernetes": (auth.audience, self._review_tokens),
            "oidc": (auth.oidc, self._trust),
        }
        settings, make = makers[name]
        known = self._made.get(name)
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
        prepared.file.take(prepared.found)  # at once: the first requests must find them
        return prepared.keys

    async def follow(self) -> None:
        """Reads the file of keys anew, for ever."""
        while True:
            file = self._keys_file
            await asyncio.sleep(LOOK_SECONDS if file is None else file.pause_seconds)
            if file is None or file is not self._keys_file:
                continue
            try:
                found = await beside(file.read, "keys")
                if file is self._keys_file:
                    file.take(found)
            except Exception as failure:  # whatever it is, the next look must not be missed: a key may be revoked then
                file.take(failure_reason(failure))
                file.again()

    def close(self) -> None:
        """Ends what the methods have begun."""
        for method in self.methods.values():
            method.close()

    def failing(self) -> Iterator[tuple[str, bool]]:
        """Each method that is on, and whether it has something to complain of."""
        yield from ((name, method.reason is not None) for name, method in self.methods.items())

    def status(self) -> dict[str, Any]:
        """For health: what each method has to complain of."""
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
